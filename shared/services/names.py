"""Names that tenants give to models and data sets, and references to one of their versions."""

import re

from shared.errors import Invalid

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def check_name(name: str, param: str) -> str:
    """The name itself. Raises Invalid when it could not stand in an address or before an `@`."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{param}: {name!r} is not a name; use 1 to 63 of a-z, 0-9, dot, dash and underscore, "
            "beginning with a letter or digit",
            param=param,
        )
    return name


def split_reference(reference: str, param: str) -> tuple[str, int | None]:
    """`digits@3` as ("digits", 3), and `digits` as ("digits", None). Raises Invalid."""
    name, at, version = reference.partition("@")
    if at and not re.fullmatch(r"[1-9]\d{0,8}", version):
        raise Invalid(f"{param}: {version!r} is not a version number", param=param)
    return name, int(version) if at else None

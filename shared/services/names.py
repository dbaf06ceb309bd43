"""Names that tenants give to models and data sets, and references to one of their versions."""

import re

from shared.errors import Invalid

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SUFFIX = re.compile(r"[a-z0-9._-]{0,64}")
_TUNED = re.compile(rf"ft:({_NAME.pattern}):{_SUFFIX.pattern}:[a-z0-9]{{8}}")


def check_name(name: str, param: str) -> str:
    """The name itself. Raises Invalid when it could not stand in an address or before an `@`."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{param}: {name!r} is not a name; use 1 to 63 of a-z, 0-9, dot, dash and underscore, "
            "beginning with a letter or digit",
            param=param,
        )
    return name


def check_model_name(name: str, param: str) -> str:
    """The name itself: one as above, or one that a fine-tuning gave. Raises Invalid."""
    return name if is_tuned_name(name) else check_name(name, param)


def is_tuned_name(name: str) -> bool:
    """Whether `tuned_name` made it."""
    return _TUNED.fullmatch(name) is not None


def tuned_name(base: str, suffix: str | None, unique: str) -> str:
    """What a fine-tuning calls its model: `ft:digits:shop:k3v9x2aw`.

    A model that is a fine-tuned one itself hands its own base on. Raises Invalid for a suffix that
    cannot stand in a name.
    """
    if suffix is not None and not _SUFFIX.fullmatch(suffix):
        raise Invalid(
            f"suffix: {suffix!r} cannot stand in a model's name; use up to 64 of a-z, 0-9, dot, "
            "dash and underscore",
            param="suffix",
        )
    earlier = _TUNED.fullmatch(base)
    return f"ft:{earlier[1] if earlier else base}:{suffix or ''}:{unique[-8:]}"


def split_reference(reference: str, param: str) -> tuple[str, int | None]:
    """`digits@3` as ("digits", 3), and `digits` as ("digits", None). Raises Invalid."""
    name, at, version = reference.partition("@")
    if at and not re.fullmatch(r"[1-9]\d{0,8}", version):
        raise Invalid(f"{param}: {version!r} is not a version number", param=param)
    return name, int(version) if at else None

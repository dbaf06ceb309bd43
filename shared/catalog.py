"""The catalogue of families: every module of `shared/families`, and those the setting `families`
names.
"""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module

import shared.families
from shared.errors import Invalid
from shared.family import Family
from shared.settings import settings


@cache
def families() -> Mapping[str, Family]:
    """All families by name."""
    own = [
        f"shared.families.{module.name}"
        for module in pkgutil.iter_modules(shared.families.__path__)
    ]
    found = (import_module(name).FAMILY for name in [*own, *settings().families])
    return {family.name: family for family in found}


def family(name: str, *, param: str = "family") -> Family:
    """The family of this name. Raises Invalid with the known names."""
    found = families().get(name)
    if found is None:
        raise Invalid(
            f"{param}: no family {name!r}; known: {', '.join(sorted(families()))}", param=param
        )
    return found

"""Every code of an error that a client can meet is in the published list."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import api
import shared
from shared.errors import AtelierError

PUBLISHED = (Path(__file__).resolve().parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")


LOCAL = ("shared.embedded", "api.demo", "api.doctor", "tests")
"""Errors of the command line, which no client meets."""


def errors(of: type[AtelierError] = AtelierError) -> Iterator[type[AtelierError]]:
    for below in of.__subclasses__():
        yield below
        yield from errors(below)


def test_every_errors_code_is_published() -> None:
    for package in (shared, api):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)

    published = set(re.findall(r"`([a-z_]+)`", PUBLISHED))
    codes = {error.code for error in errors() if not error.__module__.startswith(LOCAL)}

    assert len(codes) > 10
    assert codes <= published

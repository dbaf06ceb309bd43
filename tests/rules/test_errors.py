"""Every code of an error that a client can meet is in the published list."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

import api
import shared
from shared.errors import AtelierError
from shared.services.invalid import OF_UNION

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


def test_no_kind_of_a_field_that_may_be_of_several_gets_into_the_path_of_a_fault() -> None:
    for package in (shared, api):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)

    kinds = {
        str(fault["loc"][0])
        for request in requests()
        for field in request.model_fields.values()
        if len(set(get_args(field.annotation)) - {type(None)}) > 1
        for fault in faults_of_nothing(field.annotation)
        if fault["loc"]
    }

    assert {"str", "list[str]", "list[TextContent]"} <= kinds
    assert [kind for kind in kinds if not OF_UNION.fullmatch(kind)] == []


def requests(of: type[BaseModel] = BaseModel) -> Iterator[type[BaseModel]]:
    """The models of what clients send: they take no unknown fields."""
    for below in of.__subclasses__():
        is_ours = below.__module__.startswith(("api.", "shared."))
        if is_ours and below.model_config.get("extra") == "forbid":
            yield below
        yield from requests(below)


def faults_of_nothing(annotation: Any) -> list[ErrorDetails]:
    """What pydantic says of a value that is of no kind at all."""
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(annotation).validate_python(object())
    return refused.value.errors()

"""Kinds of options: times, pairs, keys; a wrong one is refused before anything is sent."""

from datetime import datetime
from typing import Any

import click


class _Moment(click.ParamType):
    """A time in ISO 8601, as seconds since 1970; without a zone, by this machine's clock."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> int:
        try:
            return int(datetime.fromisoformat(value).timestamp())
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time such as 2030-01-31T18:00", param, context)


class _Pair(click.ParamType):
    """A name and its value."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, str]:
        name, equals, text = value.partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is not a pair such as order=4711", param, context)
        return name, text


class _Printable(click.ParamType):
    """What can stand in a header."""

    name = "text"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> str:
        if not value.isascii() or not value.isprintable() or not 0 < len(value) <= 200:
            self.fail("give 1 to 200 letters, digits or signs of ASCII", param, context)
        return str(value)


MOMENT, PAIR, PRINTABLE = _Moment(), _Pair(), _Printable()

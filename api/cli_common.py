"""What operators' commands have in common."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from shared.errors import AtelierError

Command = TypeVar("Command", bound=Callable[..., Any])


def says_errors(command: Command) -> Command:
    """Our errors as one sentence on stderr and exit code 1, without a traceback."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except AtelierError as error:
            raise click.ClickException(error.message) from None

    return run  # type: ignore[return-value]


def use_local() -> None:
    """Beside a running `atelier up`: the addresses of its engines, where the settings name none."""
    from api.installation import adopt_running

    adopt_running()

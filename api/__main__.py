"""The program `atelier`: finds a command where it lives.

Users' commands are clients of the HTTP API and load nothing of the server; those of the operators
do.
"""

import sys
from importlib import import_module

import click

from api.client import commands
from api.client.faults import INTERRUPTED

_USERS: dict[str, click.Command] = {
    "submit": commands.submit,
    "status": commands.status,
    "fetch": commands.fetch,
    "cancel": commands.cancel,
    "logs": commands.logs_command,
}


class _Commands(click.Group):
    """The users' commands, and behind them the operators', loaded at need."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*_USERS, *_operators().list_commands(context)]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return _USERS.get(name) or _operators().get_command(context, name)

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


def _operators() -> click.Group:
    group = import_module("api.cli").main
    assert isinstance(group, click.Group)
    return group


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="atelier")
def main() -> None:
    """Submit work to an Atelier installation and fetch results, or run one and look after it.

    submit, status, fetch, cancel and logs need ATELIER_URL and ATELIER_API_KEY alone; the others
    are for those who run the installation.
    """


if __name__ == "__main__":
    main()

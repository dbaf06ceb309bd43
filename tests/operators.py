"""Operators at the command line: their commands run in this process."""

from click.testing import CliRunner, Result

from api.cli import main


def command(*arguments: str) -> Result:
    """Run a command, however it ends."""
    return CliRunner().invoke(main, arguments)


def run(*arguments: str) -> str:
    """Run a command that has to end well; what it prints."""
    done = command(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout

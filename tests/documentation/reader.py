"""Somebody who follows a page: types its commands into a shell, one after the other, puts in what
he was told for what the page leaves open, and waits for the jobs he asked for.
"""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

from sqlalchemy import func, select

from shared.db import reading
from shared.states import FINAL_JOB_STATES
from shared.tables.job import Job
from tests.waiting import until

ADDRESS = "http://127.0.0.1:8000"
"""Of every example."""

_OPEN = re.compile(r"\b(file-|job_|output_)…")
_TOLD = re.compile(r'"id": ?"((file-|job_|output_)\w+)"')
_STATUS = "exit status"

_QUIET = 'unset HISTFILE; curl() { command curl --fail-with-body --no-progress-meter "$@"; }'
"""An error of the API ends a command, as it would the reader's patience."""


@dataclass
class Reader:
    """A shell in a folder, and what it was told last of each kind of thing."""

    shell: Popen[str]
    folder: Path
    address: str
    told: dict[str, str] = field(default_factory=dict)

    def follow(self, example: str) -> None:
        """Type all of an example."""
        for command in commands(example):
            self.type(command)
            until(nothing_is_open, within_s=120)

    def type(self, command: str) -> str:
        """Type one command; what it says. Fails unless it ends well."""
        assert self.shell.stdin is not None
        known = _OPEN.sub(lambda found: self.told.get(found[1], found[0]), command)
        self.shell.stdin.write(known.replace(ADDRESS, self.address))
        self.shell.stdin.write(f"\nprintf '\\n{_STATUS} %s\\n' $?\n")
        self.shell.stdin.flush()
        said, status = self._read()
        assert status == "0", f"{known}\n{said}"
        self.told |= {kind: id_ for id_, kind in _TOLD.findall(said)}
        return said

    def _read(self) -> tuple[str, str]:
        """What is said until the command has ended, and its exit status."""
        assert self.shell.stdout is not None
        said = ""
        for line in self.shell.stdout:
            if line.startswith(_STATUS):
                return said, line.removeprefix(_STATUS).strip()
            said += line
        raise EOFError(f"the shell has ended: {said}")


@contextmanager
def reading_in(folder: Path, address: str) -> Iterator[Reader]:
    """A reader in the folder of a project that is set up, with an installation at an address."""
    (folder / ".venv").symlink_to(sys.prefix)
    programs = os.pathsep.join([str(folder / ".venv" / "bin"), os.environ["PATH"]])
    environment = os.environ | {"PATH": programs, "ATELIER_URL": address}
    with Popen(
        ["bash"], cwd=folder, env=environment, stdin=PIPE, stdout=PIPE, stderr=STDOUT, text=True
    ) as shell:
        reader = Reader(shell, folder, address)
        reader.type(_QUIET)
        yield reader


def commands(example: str) -> Iterator[str]:
    """The commands of an example, each with all of its lines."""
    command = ""
    for line in example.splitlines(keepends=True):
        command += line
        if _is_whole(command):
            yield command
            command = ""
    assert not command, f"not a whole command: {command}"


def _is_whole(command: str) -> bool:
    if command.endswith("\\\n"):
        return False
    try:
        shlex.split(command, comments=True)
    except ValueError:  # a quotation goes on
        return False
    return True


def nothing_is_open() -> bool:
    """Whether every job has ended."""
    with reading() as session:
        still = select(func.count()).where(Job.state.not_in(FINAL_JOB_STATES))
        return session.scalar(still) == 0

"""A small disk that only those programs see that a test starts on it, and that can be full."""

import errno
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ceph import in_ci
from tests.chaos.processes import ROOT

_NAMESPACES = (
    (["unshare", "--mount"], ["--mount"]),
    (
        ["unshare", "--user", "--map-root-user", "--mount"],
        ["--user", "--preserve-credentials", "--mount"],
    ),
)
"""How root, and how anybody whom the system allows it, may mount what no other process sees; and
how others are let in.
"""
_HOLD = 'mount -t tmpfs -o "size=$0" tmpfs "$1" && echo mounted && exec sleep infinity'
_ENTER = 'cd "$0" && exec "$@"'


@dataclass(frozen=True)
class Disk:
    """What a test holds of it."""

    url: str
    """As the address of a storage."""
    within: Sequence[str]
    """The command that starts a program on it."""
    seen: Path
    """The folder as this process sees it."""

    @contextmanager
    def full(self) -> Iterator[None]:
        """There is no room left while the block runs."""
        rest = self.seen / "rest"
        try:
            _fill(rest)
            yield
        finally:
            rest.unlink()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Disk]:
    """Mount a disk of that size, such as `1m`, at a new folder, or skip the test."""
    folder.mkdir()
    for namespace, names in _NAMESPACES:
        with _holding([*namespace, "sh", "-c", _HOLD, size, str(folder)]) as holder:
            if holder.stdout is not None and holder.stdout.readline():
                enter = ["nsenter", "--target", str(holder.pid), *names, "--"]
                within = [*enter, "sh", "-c", _ENTER, str(ROOT)]
                yield Disk(f"file:{folder}", within, Path(f"/proc/{holder.pid}/root{folder}"))
                return
    pytest.skip("this system forbids to mount a disk")


@contextmanager
def _holding(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives as long as the block, and the disk with it."""
    try:
        holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        (pytest.fail if in_ci() else pytest.skip)("the program unshare is not installed")
    with holder:
        try:
            yield holder
        finally:
            holder.kill()


def _fill(rest: Path) -> None:
    """Write until there is no room, whatever others write meanwhile."""
    with rest.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

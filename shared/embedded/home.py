"""The home of an embedded installation: its folders, its secrets and its lock."""

import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from shared.embedded.accounts import Account, can_enter
from shared.embedded.errors import DiskFull, HomeBusy, HomeUnusable

# Below this PostgreSQL may stop half-way through its first start or a checkpoint.
LEAST_FREE_BYTES = 512 * 1024**2


@dataclass(frozen=True)
class Home:
    path: Path

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def valkey(self) -> Path:
        return self.path / "valkey"

    @property
    def objects(self) -> Path:
        return self.path / "objects"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def run(self) -> Path:
        """Pid files, ports and the lock: what means nothing once the machine restarts."""
        return self.path / "run"

    @property
    def engines(self) -> Path:
        """Copies of engines whose installed place the engine's user cannot read."""
        return self.path / "engines"


def make_home(path: Path) -> Home:
    """Make the home's folders, or the missing ones.

    Raises HomeUnusable or DiskFull.
    """
    home = Home(path.absolute())
    # As root the engines run as another user, who must pass through these two, and list neither.
    passage = 0o711 if os.geteuid() == 0 else 0o700

    with speaking_errors(home.path):
        if home.path.exists():
            # Perhaps shared with other things: opened as far as needed, never closed.
            home.path.chmod(home.path.stat().st_mode | (passage & 0o111))
        else:
            home.path.mkdir(parents=True)
            home.path.chmod(passage)

        home.run.mkdir(exist_ok=True)
        home.run.chmod(passage)
        for folder in (home.objects, home.log):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)
    return home


@contextmanager
def speaking_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors about writing into ours, with the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(path) from error
        raise HomeUnusable(
            f"{error.filename or path} cannot be written: {error.strerror}. Run as the user who "
            "owns it, or set ATELIER_HOME to a folder of your own."
        ) from error


def require_entry(home: Home, account: Account | None) -> None:
    """Raise HomeUnusable when the engine's account cannot reach the home."""
    if account is None or can_enter(home.path, account):
        return

    raise HomeUnusable(
        f"You are root, PostgreSQL therefore runs as {account.name}, and {account.name} cannot "
        f"enter {home.path}. Set ATELIER_HOME to a folder that every user can enter, for example "
        "/var/lib/atelier, or run atelier as an ordinary user."
    )


def free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


def require_space(path: Path) -> None:
    """Raise DiskFull when less than `LEAST_FREE_BYTES` are free where `path` lies."""
    if free_bytes(path) < LEAST_FREE_BYTES:
        raise disk_full(path)


def disk_full(path: Path) -> DiskFull:
    return DiskFull(
        f"The disk of {path} is full: {free_bytes(path) // 1024**2} MB are free, "
        f"{LEAST_FREE_BYTES // 1024**2} MB are needed. Free some space, or set ATELIER_HOME to a "
        "folder on a larger disk (copy the old one there to keep its data)."
    )


def secret(home: Path, name: str) -> str:
    """The home's secret of that name (43 URL-safe characters), made on first use, mode 0600.

    Raises HomeUnusable or DiskFull.
    """
    folder = home / "secrets"
    file = folder / name

    with speaking_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        if not file.exists():
            _write_once(file, secrets.token_urlsafe(32))
        return file.read_text()


def _write_once(file: Path, text: str) -> None:
    """Write a file whole or not at all; whoever comes second keeps the first one's text."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent) as draft:
        draft.write(text)
        draft.flush()
        os.fsync(draft.fileno())
        with suppress(FileExistsError):
            os.link(draft.name, file)


@contextmanager
def locked(home: Home) -> Iterator[None]:
    """Hold the home for this process; the system lets go when the process ends, however it ends.

    Raises HomeBusy, which names the holder.
    """
    descriptor = os.open(home.run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 20).decode() or "unknown"
            raise HomeBusy(
                f"atelier already runs on {home.path} (pid {holder}). Stop it first, or set "
                "ATELIER_HOME to another folder for a second installation."
            ) from error

        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)

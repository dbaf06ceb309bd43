"""The user that an engine runs as: PostgreSQL refuses root, so root lends it a lesser account."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.embedded.errors import EmbeddedError

CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int

    def as_popen(self) -> dict[str, Any]:
        """The arguments with which `subprocess` starts a process as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def engine_account(data: Path) -> Account | None:
    """The account for the engines, or None when we are not root and they run as ourselves.

    A data folder keeps its owner, so that an account that appears later changes nothing.
    Raises EmbeddedError when root finds no lesser account.
    """
    if os.geteuid() != 0:
        return None

    if data.exists() and (owner := data.stat().st_uid) != 0:
        return Account(f"uid {owner}", owner, data.stat().st_gid)

    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)

    raise EmbeddedError(
        "PostgreSQL refuses to run as root, and this machine has neither a user `postgres` nor "
        "`nobody` to run it as. Start atelier as an ordinary user, or add one: `useradd postgres`."
    )


def give(path: Path, account: Account | None) -> None:
    """Make the account the owner of `path` and of everything below it that is not its own yet."""
    if account is None:
        return

    for entry in (path, *path.rglob("*")):
        if entry.lstat().st_uid != account.uid:
            os.chown(entry, account.uid, account.gid, follow_symlinks=False)


def can_enter(folder: Path, account: Account) -> bool:
    """Whether the account can go into the folder, asked of the system itself."""
    # `cwd=` would be entered before the rights are dropped, hence the shell.
    return can_run(["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)], account)


def can_run(argv: Sequence[str], account: Account) -> bool:
    """Whether the command runs and succeeds as the account."""
    try:
        done = subprocess.run(
            argv, cwd="/", capture_output=True, check=False, timeout=30, **account.as_popen()
        )
    except PermissionError:
        return False
    return done.returncode == 0

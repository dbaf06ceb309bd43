"""Which code made an output: the release, and a hash of the sources, since checkouts differ."""

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("shared", "worker")


@cache
def code_version() -> str:
    """For example `0.1.0+3fa4b2c1`."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{version('atelier')}+{digest.hexdigest()[:8]}"

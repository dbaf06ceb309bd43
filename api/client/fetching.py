"""Fetching a job's outputs into a folder: several at once, checked by their hashes, taken up again
where an earlier run ended.
"""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

from api.client.http import Api, Json, job_path
from api.client.names import file_name

MANIFEST = "manifest.jsonl"
_AT_ONCE = 4
_PAGE = 40
"""Outputs between two pages of the list, where a server that has gone away is noticed."""
_TOLD = ("id", "item", "custom_id", "index", "media_type", "bytes", "sha256", "model", "seed")


@dataclass
class Tally:
    """What came of a fetch."""

    fetched: int = 0
    kept: int = 0
    """Files that were there already, whole."""
    missing: list[str] = field(default_factory=list)
    """Outputs that could not be fetched, with the reason."""


@dataclass(frozen=True)
class _Saved:
    name: str
    is_new: bool
    fault: str | None = None


def fetch(api: Api, job_id: str, folder: Path, show: Callable[[Tally], None]) -> Tally:
    """Bring every output of a job into `folder`, with a manifest of what is there.

    `show` is told after each page how far it is.
    Raises Refused or NoAnswer when the outputs cannot be listed, and OSError when the folder
    cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tally = Tally()
    written = folder / f"{MANIFEST}.part"
    try:
        with written.open("w", encoding="utf-8") as manifest, ThreadPoolExecutor(_AT_ONCE) as pool:
            save = partial(_save, api, folder, _folds_case(written))
            for outputs in api.pages(f"{job_path(job_id)}/outputs", limit=_PAGE):
                for output, saved in zip(outputs, pool.map(save, outputs), strict=True):
                    _count(tally, output, saved)
                    if saved.fault is None:
                        manifest.write(json.dumps(_line(output, saved.name)) + "\n")
                show(tally)
        written.replace(folder / MANIFEST)
    finally:
        written.unlink(missing_ok=True)
    return tally


def _folds_case(file: Path) -> bool:
    """Whether the file system takes upper and lower case for one."""
    return file.with_name(file.name.upper()).exists()


def _save(api: Api, folder: Path, folds_case: bool, output: Json) -> _Saved:
    """Have the file of an output, from here or from the server."""
    name = file_name(output, folds_case)
    path = folder / name
    part = folder / f"{name}.part"
    try:
        if path.is_file() and _sha256(path) == output["sha256"]:
            return _Saved(name, is_new=False)
        api.download(f"/api/v1/outputs/{output['id']}/content", part, output["sha256"])
        part.replace(path)
    except click.ClickException as fault:
        return _Saved(name, is_new=False, fault=fault.message)
    except OSError as error:
        return _Saved(name, is_new=False, fault=str(error))
    finally:
        part.unlink(missing_ok=True)
    return _Saved(name, is_new=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _count(tally: Tally, output: Json, saved: _Saved) -> None:
    if saved.fault is not None:
        tally.missing.append(f"{output['id']} ({saved.name}): {saved.fault}")
    elif saved.is_new:
        tally.fetched += 1
    else:
        tally.kept += 1


def _line(output: Json, name: str) -> dict[str, Any]:
    told = {key: output[key] for key in _TOLD}
    return {**told, "params": output["params"], "file": name}

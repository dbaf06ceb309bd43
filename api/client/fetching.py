"""Fetching what a job made into a folder: outputs, several at once, and the files that it wrote;
checked by their hashes, taken up again where an earlier run ended.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from api.client.http import Api, Json, job_path
from api.client.names import file_name, result_name
from api.client.showing import rewrite, tell

MANIFEST = "manifest.jsonl"
_AT_ONCE = 4
_PAGE = 40
"""Outputs between two pages of the list, where a server that has gone away is noticed."""
_MOST_MISSING = 20
"""Of which a person is told by name."""
_TOLD = ("id", "item", "custom_id", "index", "media_type", "bytes", "sha256", "model", "seed")
_RESULTS = ("output_file", "error_file")
"""A job's fields that name a file which it wrote."""


@dataclass(frozen=True)
class Missing:
    """An output or a file that could not be fetched, and why."""

    id: str
    file: str
    message: str


@dataclass
class Tally:
    """What came of a fetch."""

    fetched: int = 0
    kept: int = 0
    """Files that were there already, whole."""
    missing: list[Missing] = field(default_factory=list)

    def document(self) -> Json:
        """It as JSON."""
        return asdict(self)

    def tell(self) -> None:
        """Say it to the person at the terminal."""
        tell(f"{self.fetched} fetched, {self.kept} already there, {len(self.missing)} missing")
        for missing in self.missing[:_MOST_MISSING]:
            tell(f"missing  {missing.id} ({missing.file}): {missing.message}")
        if len(self.missing) > _MOST_MISSING:
            tell(f"missing  and {len(self.missing) - _MOST_MISSING} more")


@dataclass(frozen=True)
class _Wanted:
    """Content that is to be a file of that name."""

    id: str
    name: str
    path: str
    sha256: str


@dataclass(frozen=True)
class _Saved:
    id: str
    name: str
    is_new: bool
    fault: str | None = None


def fetch(api: Api, job: Json, folder: Path) -> Tally:
    """Bring every output of a job into `folder`, with a manifest of them, and its result files.

    Raises Refused or NoAnswer when the outputs cannot be listed, and OSError when the folder
    cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tally = Tally()
    written = folder / f"{MANIFEST}.part"
    try:
        with written.open("w", encoding="utf-8") as manifest, ThreadPoolExecutor(_AT_ONCE) as pool:
            save = partial(_save_output, api, folder, _folds_case(written))
            for outputs in api.pages(f"{job_path(job['id'])}/outputs", limit=_PAGE):
                for output, saved in zip(outputs, pool.map(save, outputs), strict=True):
                    _count(tally, saved)
                    if saved.fault is None:
                        manifest.write(json.dumps(_line(output, saved.name)) + "\n")
                rewrite(f"{tally.fetched + tally.kept} of the outputs are here")
        written.replace(folder / MANIFEST)
        for field_ in _RESULTS:
            if job[field_] is not None:
                _count(tally, _save_result(api, folder, field_, job[field_]))
    finally:
        written.unlink(missing_ok=True)
    return tally


def _folds_case(file: Path) -> bool:
    """Whether the file system takes upper and lower case for one."""
    return file.with_name(file.name.upper()).exists()


def _save_output(api: Api, folder: Path, folds_case: bool, output: Json) -> _Saved:
    content = f"/api/v1/outputs/{output['id']}/content"
    name = file_name(output, folds_case)
    return _save(api, folder, _Wanted(output["id"], name, content, output["sha256"]))


def _save_result(api: Api, folder: Path, field_: str, id_: str) -> _Saved:
    path = f"/v1/files/{quote(id_, safe='')}"
    try:
        file = api.get(path)
    except click.ClickException as fault:
        return _Saved(id_, field_, is_new=False, fault=fault.message)
    name = result_name(field_, file["filename"])
    return _save(api, folder, _Wanted(id_, name, f"{path}/content", file["sha256"]))


def _save(api: Api, folder: Path, wanted: _Wanted) -> _Saved:
    """Have the file of some content, from here or from the server."""
    path = folder / wanted.name
    part = folder / f"{wanted.name}.part"
    try:
        if path.is_file() and _sha256(path) == wanted.sha256:
            return _Saved(wanted.id, wanted.name, is_new=False)
        api.download(wanted.path, part, wanted.sha256)
        part.replace(path)
    except click.ClickException as fault:
        return _Saved(wanted.id, wanted.name, is_new=False, fault=fault.message)
    except OSError as error:
        return _Saved(wanted.id, wanted.name, is_new=False, fault=str(error))
    finally:
        part.unlink(missing_ok=True)
    return _Saved(wanted.id, wanted.name, is_new=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _count(tally: Tally, saved: _Saved) -> None:
    if saved.fault is not None:
        tally.missing.append(Missing(saved.id, saved.name, saved.fault))
    elif saved.is_new:
        tally.fetched += 1
    else:
        tally.kept += 1


def _line(output: Json, name: str) -> dict[str, Any]:
    told = {key: output[key] for key in _TOLD}
    return {**told, "params": output["params"], "file": name}

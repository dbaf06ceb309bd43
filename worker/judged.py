"""Judged outputs as what a data set is made from: a table of them, and a list of which they were.

Line for line the two are about the same outputs, so that a report's `outputs.jsonl:12` is the
twelfth of the list.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow
from pyarrow.parquet import ParquetWriter

from shared.db import reading
from shared.errors import IntegrityError
from shared.preparation import JudgedOutputs
from shared.services import datasets, reviews
from shared.services.reviews import Judged
from shared.states import Modality
from shared.storage import read
from shared.tables.dataset import Dataset
from worker.preparation.files import Source

AT_ONCE = 64
"""Outputs in memory together."""
_READERS = 8


class _Table(Protocol):
    """A file of rows, whose name says its kind."""

    name: str

    def write(self, rows: Sequence[tuple[Judged, bytes]]) -> None: ...

    def close(self) -> None: ...


@dataclass
class Gathered:
    """What was gathered of them."""

    source: Source
    listed: Path
    taken: int = 0
    left_out: int = 0

    def add_to(self, folder: Path, report: dict[str, Any]) -> None:
        """Leave in a prepared set which outputs it comes from."""
        shutil.move(self.listed, folder / datasets.OUTPUTS)
        report["outputs"] = {"taken": self.taken, "left_out": self.left_out}
        if self.left_out:
            report["warnings"].append(
                f"{self.left_out} outputs were left out: a grid of several pictures, or a mix of "
                "labels, is no example of one"
            )


def gather(dataset: Dataset, folder: Path, check: Callable[[], None]) -> Gathered:
    """Write both files into a folder. `check` raises where the work is to stop.

    Raises IntegrityError for an output whose bytes are not those that were made.
    """
    with ExitStack() as stack:
        of_images = dataset.modality == Modality.IMAGE
        table: _Table = _Pictures(folder) if of_images else _Texts(folder)
        stack.callback(table.close)
        listed = folder / f"listed-{datasets.OUTPUTS}"
        lines = stack.enter_context(listed.open("w", encoding="utf-8"))
        pool = stack.enter_context(ThreadPoolExecutor(_READERS))
        gathered = Gathered(Source(folder / table.name, table.name), listed)
        for found in _pages(dataset):
            check()
            usable = [one for one in found if _is_example(one)]
            table.write(list(zip(usable, pool.map(_bytes_of, usable), strict=True)))
            lines.writelines(_line(one) for one in usable)
            gathered.taken += len(usable)
            gathered.left_out += len(found) - len(usable)
    return gathered


def _pages(dataset: Dataset) -> Iterator[Sequence[Judged]]:
    only, after = JudgedOutputs.model_validate(dataset.outputs), ""
    modality = Modality(dataset.modality)
    while True:
        with reading() as session:
            found = reviews.judged(session, dataset.tenant_id, modality, only, after, AT_ONCE)
        if not found:
            return
        yield found
        after = found[-1].output.id


def _is_example(one: Judged) -> bool:
    # What families say of a picture that is several, or between labels.
    facts = one.output.facts
    return "rows" not in facts and not isinstance(facts.get("label"), dict)


def _bytes_of(one: Judged) -> bytes:
    content = read(one.output.key)
    if hashlib.sha256(content).hexdigest() != one.output.sha256:
        raise IntegrityError(f"Output {one.output.id} has not the bytes that were made.")
    return content


def _line(one: Judged) -> str:
    output = one.output
    told = {
        "output": output.id,
        "sha256": output.sha256,
        "label": output.label,
        "model": output.provenance.get("model"),
        "weights_hash": output.provenance.get("weights_hash"),
        "seed": output.seed,
        "review": one.verdict_id,
    }
    return json.dumps(told, ensure_ascii=False) + "\n"


class _Pictures:
    """Pictures with their labels, as Parquet."""

    name = "outputs.parquet"

    def __init__(self, folder: Path):
        kinds = [("image", pyarrow.binary()), ("label", pyarrow.string())]
        self.schema = pyarrow.schema(kinds)
        self.writer = ParquetWriter(
            folder / self.name, self.schema, compression="none", use_dictionary=False
        )

    def write(self, rows: Sequence[tuple[Judged, bytes]]) -> None:
        columns = {
            "image": [content for _, content in rows],
            "label": [one.output.label for one, _ in rows],
        }
        self.writer.write_table(pyarrow.table(columns, self.schema))

    def close(self) -> None:
        self.writer.close()


class _Texts:
    """Texts behind what they answer, as JSONL."""

    name = "outputs.jsonl"

    def __init__(self, folder: Path):
        self.file = (folder / self.name).open("w", encoding="utf-8")

    def write(self, rows: Sequence[tuple[Judged, bytes]]) -> None:
        for one, content in rows:
            row = _example(one.params, content.decode("utf-8"))
            self.file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self.file.close()


def _example(params: dict[str, Any], text: str) -> dict[str, Any]:
    if params.get("messages"):
        # Replies of earlier turns are read and not learnt: nobody has judged them here.
        earlier = [
            {"role": turn["role"], "content": turn["content"], "weight": 0}
            for turn in params["messages"]
        ]
        # The plain template has a space between role and text, which is no part of the reply.
        reply = {"role": "assistant", "content": text.removeprefix(" ")}
        return {"messages": [*earlier, reply]}
    if isinstance(params.get("prompt"), str):
        return {"prompt": params["prompt"], "completion": text}
    return {"text": text}

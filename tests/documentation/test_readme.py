"""The README's examples run from the first to the last, in their order, as they are written."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from flask import Flask

from api.demo.material import digits_archive, reference
from shared.states import Lane
from tests.documentation.pages import examples, text_of
from tests.documentation.reader import ADDRESS, Reader, reading_in
from tests.settings import forget_settings
from tests.threads import draining, served

PAGE = "README.md"
TWO_MINUTES, MOMENTS = '"max_seconds": 120', '"max_steps": 4, "width": 16'
"""What alone is changed: how long a training takes."""

TINY = '{"max_steps": 4, "layers": 1, "width": 64, "heads": 2, "vocabulary": 320, "context": 128}'
REFERENCE = f"""
curl -s $api/v1/files -H "$auth" -F purpose=fine-tune -F file=@topics.jsonl
curl -s $api/api/v1/datasets -H "$auth" -H "$json" \\
  -d '{{"name": "topics", "modality": "text", "files": ["file-…"]}}'
curl -s $api/api/v1/jobs -H "$auth" -H "$json" -d '{{"kind": "training", "family": "causal_lm",
  "dataset": "topics", "model": "reference", "params": {TINY}}}'
"""
"""The second model that the examples name, which the demo trains."""

PICTURES = [*(f"order-7_{index}.png" for index in range(4)), "order-8_0.png"]
"""What the items of docs/commands.md become, from a file of JSON lines as from one of rows."""


def few_digits() -> bytes:
    """300 of the demo's digits, for the training to be measured sooner."""
    packed = io.BytesIO()
    with ZipFile(io.BytesIO(digits_archive())) as whole, ZipFile(packed, "w") as few:
        for name in whole.namelist():
            if int(Path(name).stem) < 300:
                few.writestr(name, whole.read(name))
    return packed.getvalue()


@pytest.fixture
def reader(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """One with the data that the page speaks of in his folder, and an installation at work."""
    monkeypatch.setenv("ATELIER_WAIT_SECONDS", "120")
    forget_settings()
    folder = tmp_path / "reader"
    folder.mkdir()
    (folder / "digits.zip").write_bytes(few_digits())
    (folder / "topics.jsonl").write_bytes(reference())
    json_lines, comma_separated = examples("docs/commands.md")
    (folder / "items.jsonl").write_text(json_lines, encoding="utf-8")
    (folder / "items.csv").write_text(comma_separated, encoding="utf-8")
    lanes = (Lane.LIGHT, Lane.TRAINING, Lane.IMAGE, Lane.TEXT)
    with served(app) as address, draining(*lanes), reading_in(folder, address) as made:
        yield made


def test_its_examples_run(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    first_job, with_commands = examples(PAGE, "sh")
    (with_the_sdk,) = examples(PAGE, "python")
    monkeypatch.chdir(reader.folder)

    assert TWO_MINUTES in first_job
    reader.follow(first_job.replace(TWO_MINUTES, MOMENTS))
    assert [path.read_bytes()[:4] for path in Path().glob("*.png")] == [b"\x89PNG"]

    reader.follow(with_commands)
    assert pictures_in("results") == PICTURES
    (at_once,) = examples("docs/commands.md", "sh")
    reader.follow(at_once.replace("items.jsonl", "items.csv").replace("results", "of-rows"))
    assert pictures_in("of-rows") == PICTURES

    reader.follow(REFERENCE)
    names = run(with_the_sdk, reader)
    assert 0 < names["story"].usage.completion_tokens <= 60
    assert names["image"].data[0].b64_json
    Path("set.zip").write_bytes(Path("digits.zip").read_bytes())
    assert in_parts(names).file.filename == "set.zip"
    names["client"].close()


def pictures_in(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).glob("*.png"))


def run(example: str, reader: Reader) -> dict[str, Any]:
    """Run an example in Python for that reader; the names that it leaves."""
    key = reader.type("echo $ATELIER_API_KEY").strip()
    known = example.replace(ADDRESS, reader.address).replace("atl_…", key)
    names: dict[str, Any] = {"Path": Path}
    exec(compile(known, PAGE, "exec"), names)
    return names


def in_parts(names: dict[str, Any]) -> Any:
    """The answer to the upload that the page has in a line of its own."""
    (call,) = re.findall(r"`(client\.uploads\..*)`", text_of(PAGE))
    return eval(call, names)

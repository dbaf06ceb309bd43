"""The README's examples run from the first to the last, in their order, as they are written."""

import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest
from flask import Flask

from api.demo.material import digits_archive, reference
from shared.states import Lane
from tests.documentation.pages import examples, text_of
from tests.documentation.reader import ADDRESS, Reader, commands, reading_in
from tests.receiver import HERE
from tests.settings import forget_settings
from tests.threads import draining, served
from worker.deliveries import Sender

PAGE = "README.md"
RECEIVER = "https://hooks.example.com"
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
"""What the items of a file become, be they rows or JSON lines."""


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
    monkeypatch.setenv("ATELIER_EGRESS_ALLOW", HERE)
    forget_settings()
    folder = tmp_path / "reader"
    folder.mkdir()
    (folder / "digits.zip").write_bytes(few_digits())
    (folder / "topics.jsonl").write_bytes(reference())
    json_lines, _ = examples("docs/commands.md")
    (folder / "items.jsonl").write_text(json_lines, encoding="utf-8")
    lanes = (Lane.LIGHT, Lane.TRAINING, Lane.IMAGE, Lane.TEXT)
    with served(app) as address, draining(*lanes), reading_in(folder, address) as made:
        yield made


@pytest.fixture
def imports(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Finds what he makes in his folder, and forgets it afterwards."""
    monkeypatch.chdir(reader.folder)
    monkeypatch.syspath_prepend(reader.folder)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "native"]:
        del sys.modules[name]


def test_its_examples_run(
    reader: Reader,
    imports: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first_job, with_commands, generate, register = examples(PAGE, "sh")
    with_the_sdk, with_native, receiver = examples(PAGE, "python")

    assert TWO_MINUTES in first_job
    reader.follow(first_job.replace(TWO_MINUTES, MOMENTS))
    assert [path.read_bytes()[:4] for path in Path().glob("*.png")] == [b"\x89PNG"]

    reader.follow(with_commands)
    assert pictures_in("results") == PICTURES

    reader.follow(REFERENCE)
    names = run(with_the_sdk, reader)
    assert 0 < names["story"].usage.completion_tokens <= 60
    assert names["image"].data[0].b64_json
    Path("set.zip").write_bytes(Path("digits.zip").read_bytes())
    assert in_parts(names).file.filename == "set.zip"
    names["client"].close()

    reader.follow(generate)
    run(with_native, reader)
    assert {"sevens_0.png", "sevens_1.png"} < set(pictures_in("."))

    with receiving(register, receiver, reader, monkeypatch) as address:
        capsys.readouterr()
        (at_once,) = examples("docs/commands.md", "sh")
        reader.follow(at_once.replace("results", "of-lines"))
        for sent in Sender().send_due():
            sent.result()
        assert httpx.post(f"{address}/atelier", json={"id": "evt_forged"}).status_code == 500
    assert pictures_in("of-lines") == PICTURES
    job_id = reader.type("echo $job").strip()
    assert capsys.readouterr().out == f"job.completed {job_id}\n"


@contextmanager
def receiving(
    register: str, receiver: str, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The address at which his receiver answers, which he has registered."""
    assert len(receiver.splitlines()) <= 20
    with served(lambda *request: names["app"](*request)) as address:
        _, made = map(reader.type, commands(register.replace(RECEIVER, address)))
        monkeypatch.setenv("ATELIER_WEBHOOK_SECRET", json.loads(made)["secret"])
        names = run(receiver, reader)
        yield address


def pictures_in(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).glob("*.png"))


def run(example: str, reader: Reader) -> dict[str, Any]:
    """Run an example in Python for that reader; the names that it leaves."""
    key = reader.type("echo $ATELIER_API_KEY").strip()
    known = example.replace(ADDRESS, reader.address).replace("atl_…", key)
    names: dict[str, Any] = {"__name__": "example", "Path": Path}
    exec(compile(known, PAGE, "exec"), names)
    return names


def in_parts(names: dict[str, Any]) -> Any:
    """The answer to the upload that the page has in a line of its own."""
    (call,) = re.findall(r"`(client\.uploads\..*)`", text_of(PAGE))
    return eval(call, names)

"""Data sets of judged outputs: what people approved becomes what the next model learns from."""

import hashlib
import io
import json
from typing import Any

import numpy as np
import PIL.Image
import pytest

from shared.db import reading, transaction
from shared.services import datasets
from shared.storage import read, storage
from shared.tables.output import Output
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, ok, refused, run_queued
from tests.ledger import execute

DATASETS = "/api/v1/datasets"
REVIEWS = "/api/v1/reviews"
TEXTS = {"name": "praised", "modality": "text", "options": {"validation": 0, "test": 0}}
PICTURES = {**TEXTS, "modality": "image", "options": {"size": 16, "validation": 0, "test": 0}}
CONVERSATION = [
    {"role": "user", "content": "Hello", "name": "ada"},
    {"role": "assistant", "content": "Yes?", "refusal": None},
    {"role": "user", "content": "Go on"},
]
"""Whose earlier reply nobody has judged."""

pytestmark = pytest.mark.usefixtures("stand_in")


def made(api: Api, *params: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """New outputs, one of each item, oldest first."""
    job = api.run(*params, **fields)
    return list(ok(api.get(f"{JOBS}/{job['id']}/outputs", order="asc"))["data"])


def judge(api: Api, output: dict[str, Any], decision: str = "approve") -> str:
    body = {"output": output["id"], "decision": decision}
    return str(ok(api.post(REVIEWS, body), 201)["id"])


def prepared(api: Api, body: dict[str, Any], **outputs: str) -> dict[str, Any]:
    """A data set of outputs after its preparation."""
    dataset = ok(api.post(DATASETS, {**body, "outputs": outputs}), 202)
    run_queued()
    return ok(api.get(f"{DATASETS}/{dataset['id']}"))


def listed(api: Api, dataset: dict[str, Any]) -> list[dict[str, Any]]:
    response = api.get(f"{DATASETS}/{dataset['id']}/outputs")
    assert response.status_code == 200
    assert response.headers["Content-Disposition"] == "attachment; filename=praised-outputs.jsonl"
    return [json.loads(line) for line in response.data.splitlines()]


def texts(tenant: Tenant, dataset: dict[str, Any]) -> list[dict[str, Any]]:
    """What stands in its training split."""
    with reading() as session:
        prefix = datasets.get(session, tenant.id, dataset["id"]).prefix
    return [json.loads(line) for line in read(f"{prefix}/train.jsonl").splitlines()]


def ask(output: dict[str, Any], **params: Any) -> None:
    """Let an output be the answer to what the stand-in does not take."""
    number = output["item"].removeprefix("item_")
    told = json.dumps(params)
    execute(f"UPDATE items SET params = params || '{told}'::jsonb WHERE id = {number}")


def paint(output: dict[str, Any], shade: int, **facts: Any) -> None:
    """Let an output be a picture."""
    pixels = np.full((16, 16), shade, np.uint8)
    pixels[:shade, 0] = 255
    png = io.BytesIO()
    PIL.Image.fromarray(pixels).save(png, format="PNG")
    fill(output, png.getvalue(), media_type="image/png", facts=facts)


def fill(output: dict[str, Any], content: bytes, **values: Any) -> None:
    """Let an output have this content."""
    key = f"test/{output['id']}"
    storage().put(key, io.BytesIO(content), media_type="image/png")
    values |= {"key": key, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    with transaction() as session:
        row = session.get_one(Output, output["id"])
        for name, value in values.items():
            setattr(row, name, value)


def test_approved_texts_become_examples_behind_their_prompts(api: Api, tenant: Tenant) -> None:
    story, chat, plain, bad, _ = made(api, *({"seed": seed} for seed in range(5)))
    ask(story, prompt="Once ")
    ask(chat, messages=CONVERSATION)
    fill(chat, b" seed 1")
    reviews = [judge(api, each) for each in (story, chat, plain)]
    judge(api, bad, "reject")

    dataset = prepared(api, TEXTS, model="stand-in")

    assert (dataset["state"], dataset["files"]) == ("ready", [])
    assert dataset["outputs"] == {"verdict": "approved", "model": "stand-in", "job": None}
    assert dataset["report"]["examples"] == 3
    assert dataset["report"]["outputs"] == {"taken": 3, "left_out": 0}
    rows = {row["text"]: row.get("learnt") for row in texts(tenant, dataset)}
    assert rows == {
        "Once seed 0": [[5, 11]],
        "user: Hello\nassistant: Yes?\nuser: Go on\nassistant: seed 1\n": [[50, 58]],
        "seed 2": None,
    }
    lines = listed(api, dataset)
    assert [line["output"] for line in lines] == [story["id"], chat["id"], plain["id"]]
    assert [line["review"] for line in lines] == reviews
    assert lines[0] == {
        "output": story["id"],
        "sha256": story["sha256"],
        "label": None,
        "model": "stand-in@1",
        "weights_hash": story["provenance"]["weights_hash"],
        "seed": 0,
        "review": reviews[0],
    }


def test_approved_pictures_keep_their_labels(api: Api) -> None:
    seven, eight, mix, sheet = made(api, *({"seed": seed} for seed in range(4)))
    paint(seven, 3, label="7")
    paint(eight, 5, label="8")
    paint(mix, 7, label={"7": 0.5, "8": 0.5})
    paint(sheet, 9, rows=["7", "8"])
    for each in (seven, eight, mix, sheet):
        judge(api, each)

    dataset = prepared(api, PICTURES)

    report = dataset["report"]
    assert (report["labels"], report["unlabelled"]) == ({"7": 1, "8": 1}, 0)
    assert report["outputs"] == {"taken": 2, "left_out": 2}
    assert "2 outputs were left out" in " ".join(report["warnings"])
    assert [line["label"] for line in listed(api, dataset)] == ["7", "8"]


def test_the_same_verdicts_make_the_same_set_again(api: Api) -> None:
    for output in made(api, *({"seed": seed} for seed in range(3))):
        judge(api, output)

    first, second = (prepared(api, TEXTS) for _ in range(2))

    assert (first["version"], second["version"]) == (1, 2)
    assert first["hash"] == second["hash"]
    assert listed(api, first) == listed(api, second)


def test_many_outputs_are_read_page_by_page(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.judged.AT_ONCE", 2)
    outputs = made(api, *({"seed": seed} for seed in range(5)))
    for output in outputs:
        judge(api, output)

    dataset = prepared(api, TEXTS)

    assert [line["output"] for line in listed(api, dataset)] == [each["id"] for each in outputs]


def test_what_cannot_be_used_is_told_by_its_line_in_the_list(api: Api) -> None:
    good, empty = made(api, {"seed": 1}, {"seed": 2})
    ask(empty, prompt="Once")
    fill(empty, b" ")
    for output in (good, empty):
        judge(api, output)

    dataset = prepared(api, TEXTS)

    (rejected,) = dataset["report"]["rejected"]
    assert rejected == {"where": "outputs.jsonl:2", "reason": "'completion' is empty"}
    assert listed(api, dataset)[1]["output"] == empty["id"]


def test_rejected_outputs_make_a_set_of_their_own(api: Api, tenant: Tenant) -> None:
    good, bad = made(api, {"seed": 1}, {"seed": 2})
    judge(api, good)
    judge(api, bad, "reject")

    dataset = prepared(api, TEXTS, verdict="rejected")

    assert [row["text"] for row in texts(tenant, dataset)] == ["seed 2"]


def test_a_set_can_be_of_one_job(api: Api, tenant: Tenant) -> None:
    (mine,), (other,) = made(api, {"seed": 1}), made(api, {"seed": 2})
    judge(api, mine)
    judge(api, other)

    dataset = prepared(api, TEXTS, job=mine["job"])

    assert [row["text"] for row in texts(tenant, dataset)] == ["seed 1"]


def test_what_was_taken_back_is_no_example(api: Api) -> None:
    (output,) = made(api, {})
    judge(api, output)
    judge(api, output, "withdraw")

    error = refused(api.post(DATASETS, {**TEXTS, "outputs": {}}), 400)

    assert error["param"] == "outputs"
    assert ok(api.get(DATASETS))["data"] == []


def test_bytes_that_are_not_those_that_were_made_are_no_example(api: Api) -> None:
    (output,) = made(api, {})
    judge(api, output)
    execute(f"UPDATE outputs SET sha256 = '{'0' * 64}' WHERE id = '{output['id']}'")

    dataset = prepared(api, TEXTS)

    assert dataset["state"] != "ready"


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"files": ["file-x"]}, 400, "files"),
        ({"outputs": None}, 400, "files"),
        ({"outputs": {"verdict": "released"}}, 400, "outputs.verdict"),
        ({"outputs": {"models": "a"}}, 400, "outputs.models"),
        ({"outputs": {"model": "nobody"}}, 404, "outputs.model"),
        ({"outputs": {"model": "stand-in@9"}}, 404, "outputs.model"),
        ({"outputs": {"job": "job_x"}}, 404, "outputs.job"),
        ({"modality": "audio"}, 400, "modality"),
        ({"modality": "image"}, 400, "outputs"),
        ({"options": {"colum": "a"}}, 400, "options.colum"),
    ],
)
def test_a_bad_request_is_refused_naming_the_field(
    api: Api, change: dict[str, Any], status: int, param: str
) -> None:
    (output,) = made(api, {})
    judge(api, output)

    error = refused(api.post(DATASETS, {**TEXTS, "outputs": {}, **change}), status)

    assert error["param"] == param
    assert ok(api.get(DATASETS))["data"] == []


def test_another_tenants_outputs_are_not_taken(api: Api, stranger: Api) -> None:
    (output,) = made(api, {})
    judge(api, output)
    body = {**TEXTS, "outputs": {}}

    refused(stranger.post(DATASETS, body), 400)
    for chosen in ({"model": "stand-in"}, {"job": output["job"]}):
        refused(stranger.post(DATASETS, {**body, "outputs": chosen}), 404)
    dataset = prepared(api, TEXTS)
    refused(stranger.get(f"{DATASETS}/{dataset['id']}/outputs"), 404)


def test_a_set_of_files_tells_of_no_outputs(api: Api) -> None:
    file_id = ok(api.upload(b"text\nhello\n", "rows.csv", "fine-tune"))["id"]
    body = {"name": "rows", "modality": "text", "files": [file_id]}
    dataset = ok(api.post(DATASETS, body), 202)

    assert dataset["outputs"] is None
    refused(api.get(f"{DATASETS}/{dataset['id']}/outputs"), 404)

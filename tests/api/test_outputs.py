"""Outputs: what was generated, with how it came about, and its bytes."""

import hashlib
from itertools import chain

import pytest

from shared.storage import storage
from tests.api.client import JOBS, Api, ok, refused, walk

OUTPUTS = "/api/v1/outputs"

pytestmark = pytest.mark.usefixtures("stand_in")


def outputs_of(api: Api, job: dict) -> list[dict]:
    return ok(api.get(f"{JOBS}/{job['id']}/outputs", order="asc", limit=100))["data"]


def test_an_output_tells_all_about_itself(api: Api) -> None:
    items = [{"custom_id": "a", "params": {"seed": 5, "n": 2}}]
    job = api.run(items=items)

    first, second = outputs_of(api, job)

    assert first["job"] == job["id"]
    assert (first["object"], first["custom_id"], first["state"]) == ("output", "a", "released")
    assert [(each["index"], each["seed"]) for each in (first, second)] == [(0, 5), (1, 6)]
    assert first["media_type"] == "text/plain; charset=utf-8"
    assert (first["model"], first["params"]["n"]) == ("stand-in@1", 2)
    assert first["facts"] == {"finish_reason": "stop"}
    provenance = first["provenance"]
    assert {"weights_hash", "code_version", "libraries", "device", "family"} <= set(provenance)
    assert ok(api.get(f"{OUTPUTS}/{first['id']}")) == first


def test_its_content_has_the_hash_that_it_tells(api: Api) -> None:
    (output,) = outputs_of(api, api.run({"seed": 5}))

    response = api.get(f"{OUTPUTS}/{output['id']}/content")

    assert response.data == b"seed 5"
    assert response.headers["Content-Type"] == output["media_type"]
    assert response.headers["Content-Disposition"] == f"attachment; filename={output['id']}.txt"
    assert output["sha256"] == hashlib.sha256(response.data).hexdigest()
    assert output["bytes"] == len(response.data)


def test_content_that_is_gone_from_storage_is_404_and_not_half_an_answer(api: Api) -> None:
    (output,) = outputs_of(api, api.run({}))
    (stored,) = storage().list("")
    storage().delete(stored.key)

    refused(api.get(f"{OUTPUTS}/{output['id']}/content"), 404)


def test_a_failed_item_has_no_output(api: Api) -> None:
    job = api.run({"fault": "refuse"})

    assert outputs_of(api, job) == []


def test_pages_of_a_jobs_outputs_give_every_output_once(api: Api) -> None:
    job = api.run(*[{"n": 3}] * 15)
    other = api.run({})

    mine = walk(lambda **query: api.get(f"{JOBS}/{job['id']}/outputs", **query), limit=10)
    all_ = walk(lambda **query: api.get(OUTPUTS, **query), limit=10)

    found = list(chain(*mine))
    assert len(found) == len(set(found)) == 45
    assert set(chain(*all_)) == {*found, *(each["id"] for each in outputs_of(api, other))}


def test_a_list_can_be_of_one_job_and_one_state(api: Api) -> None:
    job, _ = api.run({}), api.run({})

    chosen = ok(api.get(OUTPUTS, job=job["id"], state="released"))["data"]

    assert chosen == outputs_of(api, job)
    assert ok(api.get(OUTPUTS, state="approved"))["data"] == []


def test_another_tenants_outputs_are_not_seen(api: Api, stranger: Api) -> None:
    (output,) = outputs_of(api, api.run({}))

    assert ok(stranger.get(OUTPUTS))["data"] == []
    assert ok(stranger.get(OUTPUTS, job=output["job"]))["data"] == []
    refused(stranger.get(f"{OUTPUTS}/{output['id']}/content"), 404)

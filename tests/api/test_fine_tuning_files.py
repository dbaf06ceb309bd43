"""Fine-tuning from a file: it becomes a data set first, and the training waits in the ledger."""

import pytest

from shared import catalog
from shared.db import transaction
from shared.services import models
from shared.states import Lane
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, ok, refused
from tests.api.tunings import TUNINGS, preparation, state, tune, upload, upload_texts
from tests.ledger import assert_sound, release, take
from worker.runner import drain


@pytest.fixture
def file(api: Api) -> str:
    """The id of a file of texts."""
    return upload_texts(api)


def test_a_file_is_prepared_first_and_the_training_waits_for_it_in_the_ledger(
    api: Api, file: str
) -> None:
    job = tune(api, file)

    assert (job["status"], job["training_file"]) == ("validating_files", file)
    drain(Lane.TRAINING)
    assert state(api, job) == "validating", "nothing of it can be claimed yet"
    assert_sound()

    drain(Lane.LIGHT)

    assert ok(api.get(f"{TUNINGS}/{job['id']}"))["status"] == "queued"
    assert ok(api.get("/api/v1/datasets"))["data"][0]["name"] == file
    assert_sound()


def test_a_file_that_was_prepared_before_is_not_prepared_again(api: Api, file: str) -> None:
    tune(api, file)
    drain(Lane.LIGHT)

    assert tune(api, file)["status"] == "queued"
    assert preparation(api)["state"] == "succeeded"


def test_examples_that_cannot_be_used_are_told_of_in_the_trainings_events(api: Api) -> None:
    job = tune(api, upload_texts(api, {"prompt": "a"}, {"messages": []}))

    drain(Lane.LIGHT)

    events = ok(api.get(f"{TUNINGS}/{job['id']}/events"))["data"]
    (warning,) = [event for event in events if event["level"] == "warn"]
    assert "2 examples cannot be used; the first is set.jsonl:41" in warning["message"]
    assert [row["where"] for row in warning["data"]["rejected"]] == ["set.jsonl:41", "set.jsonl:42"]


def test_a_failed_preparation_fails_the_training_with_its_error(api: Api) -> None:
    job = tune(api, upload(api, '{"no text": 1}\n'))

    drain(Lane.LIGHT)

    ended = ok(api.get(f"{TUNINGS}/{job['id']}"))
    assert ended["status"] == "failed"
    assert ended["error"]["param"] == "training_file"
    assert "set.jsonl:1" in ended["error"]["message"]
    assert ended["finished_at"] is not None
    assert_sound()


@pytest.mark.parametrize("cancelled", ["training", "preparation"])
def test_the_cancel_of_a_waiting_training_or_of_its_preparation_ends_both(
    api: Api, file: str, cancelled: str
) -> None:
    job = tune(api, file)

    if cancelled == "training":
        assert ok(api.post(f"{TUNINGS}/{job['id']}/cancel"))["status"] == "cancelled"
    else:
        ok(api.post(f"{JOBS}/{preparation(api)['id']}/cancel"))

    assert (state(api, job), preparation(api)["state"]) == ("cancelled", "cancelled")
    assert ok(api.get(f"{TUNINGS}/{job['id']}"))["error"] is None
    assert refused(api.post(f"{TUNINGS}/{job['id']}/cancel"), 409)["code"] == "conflict"
    assert_sound()


def test_the_cancel_of_a_training_stops_a_preparation_that_runs(api: Api, file: str) -> None:
    job = tune(api, file)
    held = take(lane=Lane.LIGHT)

    ok(api.post(f"{TUNINGS}/{job['id']}/cancel"))
    assert (state(api, job), preparation(api)["state"]) == ("cancelled", "cancelling")
    release(held)

    assert preparation(api)["state"] == "cancelled"
    assert_sound()


def test_a_retry_prepares_the_file_again(api: Api, file: str) -> None:
    job = tune(api, file)
    ok(api.post(f"{TUNINGS}/{job['id']}/cancel"))

    assert ok(api.post(f"{JOBS}/{job['id']}/retry"))["state"] == "validating"
    drain(Lane.LIGHT)

    assert state(api, job) == "queued"
    assert_sound()


def test_a_training_is_retried_at_once_when_its_data_set_is_ready_by_now(
    api: Api, file: str
) -> None:
    job = tune(api, file)
    ok(api.post(f"{TUNINGS}/{job['id']}/cancel"))
    ok(api.post(f"{JOBS}/{preparation(api)['id']}/retry"))
    drain(Lane.LIGHT)

    assert ok(api.post(f"{JOBS}/{job['id']}/retry"))["state"] == "queued"
    assert_sound()


def test_a_file_stays_while_a_training_waits_for_it(api: Api, file: str) -> None:
    tune(api, file)

    refused(api.delete(f"/v1/files/{file}"), 409)


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({"size": 28, "channels": 1}, {"size": 28, "mode": "grey"}),
        ({"size": 64, "channels": 3}, {"size": 64, "mode": "colour"}),
        ({}, {"size": None, "mode": "auto"}),
    ],
)
def test_pictures_are_prepared_as_the_base_has_them(
    api: Api, tenant: Tenant, config: dict[str, int], options: dict[str, object]
) -> None:
    with transaction() as session:
        new = models.NewVersion("none", {}, config, {})
        models.register(session, tenant.id, "pets", catalog.family("conditional_gan"), new)

    tune(api, upload(api, "a", "pets.zip"), model="pets", method={"type": "gan"})

    (dataset,) = ok(api.get("/api/v1/datasets"))["data"]
    assert (dataset["modality"], dataset["options"]) == ("image", dataset["options"] | options)


def test_one_key_makes_one_job_and_one_preparation(api: Api, file: str) -> None:
    body = {"model": "causal_lm", "training_file": file}

    first = ok(api.post(TUNINGS, body, idempotency_key="a"))
    again = ok(api.post(TUNINGS, body, idempotency_key="a"))

    assert again == first
    assert len(ok(api.get(JOBS))["data"]) == 2


def test_a_refused_request_prepares_nothing(api: Api, file: str) -> None:
    refused(api.post(TUNINGS, {"model": "none", "training_file": file}), 404)
    refused(api.post(TUNINGS, {"model": "causal_lm", "training_file": file, "suffix": "Ü"}), 400)

    assert ok(api.get(JOBS))["data"] == []
    assert ok(api.get("/api/v1/datasets"))["data"] == []

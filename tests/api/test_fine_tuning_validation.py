"""Fine-tuning with a file of its own to measure on: when it starts, and what keeps it from that."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.orm import Session

from shared.db import transaction
from shared.services import datasets
from shared.services.ledger.trainings import start_waiting
from shared.states import Lane
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, ok, refused
from tests.api.tunings import TUNINGS, state, tune, upload, upload_texts
from tests.ledger import assert_sound, somebody_waits_for_a_lock
from tests.waiting import until
from worker.runner import drain


@pytest.fixture
def file(api: Api) -> str:
    """The id of a file of texts."""
    return upload_texts(api)


@pytest.fixture
def other(api: Api) -> str:
    """The id of a file of other texts."""
    return upload(api, '{"text": "Gulls cry."}\n{"text": "Waves break."}\n', "other.jsonl")


def preparations(api: Api) -> list[dict[str, Any]]:
    """The jobs that prepare data sets, the first one first."""
    return ok(api.get(JOBS, kind="ingestion", order="asc"))["data"]


def test_a_training_waits_for_both_its_files(api: Api, file: str, other: str) -> None:
    job = tune(api, file, validation_file=other)
    assert (job["status"], job["training_file"], job["validation_file"]) == (
        "validating_files",
        file,
        other,
    )

    drain(Lane.LIGHT)

    assert ok(api.get(f"{TUNINGS}/{job['id']}"))["status"] == "queued"
    found = {one["name"]: one for one in ok(api.get("/api/v1/datasets"))["data"]}
    splits = found[file]["report"]["splits"]
    assert (splits["validation"], splits["test"]) == (0, 0), "all of it is to be learnt"
    assert_sound()


def test_two_with_each_others_files_hold_up_neither(api: Api, file: str, other: str) -> None:
    def tune_by(training_file: str, validation_file: str) -> str:
        return str(tune(api, training_file, validation_file=validation_file)["status"])

    with ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            both = pool.map(tune_by, (file, other), (other, file))
            assert list(both) == ["validating_files"] * 2


def test_a_prepared_set_and_a_file_wait_for_the_file_alone(api: Api, file: str, other: str) -> None:
    asked = {"name": "sea", "modality": "text", "files": [other], "options": {"test": 0}}
    ok(api.post("/api/v1/datasets", asked), 202)
    drain(Lane.LIGHT)

    job = tune(api, "sea", validation_file=file)
    assert (state(api, job), job["training_file"]) == ("validating", "sea@1")
    drain(Lane.LIGHT)

    assert state(api, job) == "queued"


def test_of_two_files_that_are_ready_at_once_the_later_one_starts_the_training(
    api: Api, file: str, other: str, tenant: Tenant
) -> None:
    """Neither transaction sees the other's file as ready until that is committed."""
    job = tune(api, file, validation_file=other)
    first, second = (one["dataset"] for one in preparations(api))

    def finish(session: Session, dataset_id: str) -> None:
        datasets.ready(session, dataset_id, datasets.Prepared("none", {}, "0" * 64, {}))
        start_waiting(session, datasets.get(session, tenant.id, dataset_id))

    def finish_second() -> None:
        with transaction() as session:
            finish(session, second)

    later = threading.Thread(target=finish_second)
    with transaction() as session:
        finish(session, first)
        later.start()
        until(somebody_waits_for_a_lock)
    later.join(10)

    assert state(api, job) == "queued"


@pytest.mark.parametrize("bad", ["training_file", "validation_file"])
def test_a_file_without_examples_fails_the_training_and_names_field_and_line(
    api: Api, file: str, bad: str
) -> None:
    files = {"training_file": file, "validation_file": file} | {bad: upload(api, '{"no": 1}\n')}
    job = tune(api, **files)

    drain(Lane.LIGHT)

    ended = ok(api.get(f"{TUNINGS}/{job['id']}"))
    assert (ended["status"], ended["error"]["param"]) == ("failed", bad)
    assert "set.jsonl:1" in ended["error"]["message"]
    assert_sound()


def test_examples_to_measure_on_that_cannot_be_used_are_told_of_by_field_and_line(
    api: Api, file: str
) -> None:
    mixed = upload(api, '{"text": "Gulls cry."}\n{"prompt": "a"}\n', "other.jsonl")
    job = tune(api, file, validation_file=mixed)

    drain(Lane.LIGHT)

    events = ok(api.get(f"{TUNINGS}/{job['id']}/events"))["data"]
    (warning,) = [event for event in events if event["level"] == "warn"]
    assert warning["message"].startswith(
        "validation_file: 1 examples cannot be used; the first is "
    )
    assert "other.jsonl:2" in warning["message"]


def test_a_cancel_ends_both_preparations_and_a_retry_prepares_both_again(
    api: Api, file: str, other: str
) -> None:
    job = tune(api, file, validation_file=other)

    ok(api.post(f"{TUNINGS}/{job['id']}/cancel"))
    assert [one["state"] for one in preparations(api)] == ["cancelled", "cancelled"]
    ok(api.post(f"{JOBS}/{job['id']}/retry"))
    assert state(api, job) == "validating"
    drain(Lane.LIGHT)

    assert state(api, job) == "queued"
    assert_sound()


def test_what_is_learnt_from_is_not_measured_on(api: Api, file: str) -> None:
    body = {"model": "causal_lm", "training_file": file, "validation_file": file}

    error = refused(api.post(TUNINGS, body), 400)

    assert error["param"] == "validation_file"
    assert ok(api.get(JOBS))["data"] == []


def test_a_file_of_another_purpose_is_refused(api: Api, file: str) -> None:
    batch = upload(api, "{}\n", purpose="batch")
    body = {"model": "causal_lm", "training_file": file, "validation_file": batch}

    error = refused(api.post(TUNINGS, body), 400)

    assert error["param"] == "validation_file"
    assert "fine-tune" in error["message"]


def test_families_of_pictures_take_no_file_to_measure_on(api: Api, other: str) -> None:
    pictures = upload(api, "a", "pets.zip")
    body = {"model": "conditional_gan", "training_file": pictures, "validation_file": other}

    error = refused(api.post(TUNINGS, body), 400)

    assert error["param"] == "validation_file"
    assert ok(api.get(JOBS))["data"] == []

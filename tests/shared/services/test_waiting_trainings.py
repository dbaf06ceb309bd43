"""Trainings that wait for their data set, when several things happen to them at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import pytest

from shared.db import transaction
from shared.errors import Conflict
from shared.services import datasets, fine_tuning, jobs, submissions
from shared.services.ledger.claim import Claim
from shared.services.ledger.commit import Done, Failed, commit
from shared.services.ledger.trainings import start_waiting
from shared.states import DatasetState, Lane
from shared.tables.dataset import Dataset
from shared.tables.file import File
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from tests.ledger import assert_sound, look, take

RACES = 60


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def wait_for_a_file(tenant: Tenant, number: int) -> Job:
    """A training that waits for the preparation of a file of its own."""
    file = File(
        id=f"file-{number}",
        tenant_id=tenant.id,
        purpose="fine-tune",
        filename="a.jsonl",
        bytes=1,
        sha256="0" * 64,
        key="none",
    )
    new = fine_tuning.NewTuning("causal_lm", file.id, None, {}, ("hyperparameters",))
    with transaction() as session:
        session.add(file)
        session.flush()
        return fine_tuning.create(session, submissions.Common(tenant.id), new)


def dataset_of(job: Job) -> Dataset:
    with transaction() as session:
        return datasets.get(session, job.tenant_id, str(job.dataset_id))


def conclude(found: Claim, dataset: Dataset) -> bool:
    """Whether the preparation was written down, as its worker would."""
    with transaction() as session:
        if not commit(session, found.token, [Done(found.items[0].id)]).items:
            return False
        datasets.ready(session, dataset.id, datasets.Prepared("prefix", {}, "0" * 64, {}))
        start_waiting(session, dataset)
        return True


def cancel(job_id: str, tenant_id: str) -> bool:
    try:
        with transaction() as session:
            jobs.cancel(session, tenant_id, job_id)
    except Conflict:
        return False
    return True


def test_a_cancel_against_the_end_of_the_preparation_leaves_nothing_that_runs(
    tenant: Tenant, pool: ThreadPoolExecutor
) -> None:
    start = Barrier(2)
    for number in range(RACES):
        job = wait_for_a_file(tenant, number)
        dataset, found = dataset_of(job), take(lane=Lane.LIGHT)
        calls = [partial(conclude, found, dataset), partial(cancel, job.id, tenant.id)]

        ended, is_taken = pool.map(lambda call: (start.wait(), call())[1], calls)

        assert is_taken, "of a training that has not run a cancel is never too late"
        assert look(job).state == "cancelled"
        assert ended, "and what has been prepared stays"
        assert dataset_of(job).state == DatasetState.READY
    assert take(lane=Lane.TRAINING).items == []
    assert_sound()


def test_the_cancels_of_a_training_and_of_its_preparation_do_not_block_each_other(
    tenant: Tenant, pool: ThreadPoolExecutor
) -> None:
    start = Barrier(2)
    for number in range(RACES):
        job = wait_for_a_file(tenant, number)
        preparation = str(dataset_of(job).job_id)
        calls = [partial(cancel, id_, tenant.id) for id_ in (job.id, preparation)]

        taken = list(pool.map(lambda call: (start.wait(), call())[1], calls))

        assert any(taken)
        assert look(job).state == "cancelled"
        assert dataset_of(job).state == DatasetState.FAILED
    assert_sound()


def test_a_preparation_that_fails_for_good_fails_the_training_with_its_error(
    tenant: Tenant,
) -> None:
    job = wait_for_a_file(tenant, 1)
    found = take(lane=Lane.LIGHT)
    with transaction() as session:
        error = {"code": "unsafe_content", "message": "a bomb", "param": "files"}
        commit(session, found.token, [Failed(found.items[0].id, error)])

    ended = look(job)

    assert (ended.state, ended.total) == ("failed", 0)
    assert ended.error == {
        "code": "unsafe_content",
        "message": "a bomb",
        "param": "training_file",
    }
    assert_sound()

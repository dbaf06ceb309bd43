"""Mistakes that a programmer may make, each with the check of the suite that must name it."""

import io
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from shared.services import webhooks
from shared.services.ledger import settle, waiting
from shared.services.ledger.commit import Result, _Book
from shared.settings import settings
from shared.states import ItemState, JobState
from shared.storage import storage
from shared.tables.job import Job
from tests.chaos import scenarios
from tests.chaos.breaking import Code, named_by, outputs_that_may_be_there_twice
from tests.chaos.soundness import ENDED_TWICE, ILLEGAL_CHANGE, OBJECT_ANOTHER, OBJECT_MISSING
from worker import writing
from worker.media import Encoded

LEDGER = "shared.services.ledger"


@named_by("a job's counters are what a recount of its items gives", scenarios.a_job_runs)
def what_is_done_is_not_counted(code: Code) -> None:
    code.edit(f"{LEDGER}.commit._WRITE", "done = jobs.done + change.done,", "")


@named_by("a job's counters are what a recount of its items gives", scenarios.a_job_is_retried)
def what_is_retried_still_counts_as_failed(code: Code) -> None:
    code.edit("shared.services.retries._RECOUNT", "failed = 0, ", "")


@named_by(
    "a flow's counters are what a recount of the queue and its running items gives",
    scenarios.a_job_is_cancelled_while_it_runs,
)
def what_a_cancel_takes_from_the_queue_still_counts_in_its_flow(code: Code) -> None:
    def dequeue(session: Session, job_id: str) -> None:
        session.execute(waiting._DEQUEUE, {"job": job_id})

    code.replace(f"{LEDGER}.cancel.dequeue", dequeue)


@named_by(
    "a flow's counters are what a recount of the queue and its running items gives",
    scenarios.a_job_runs,
)
def changes_of_flows_are_collected_and_never_made(code: Code) -> None:
    code.forget(f"{LEDGER}.flows.apply")


@named_by("a flow's cost is that of its queue", scenarios.a_lost_worker_comes_back)
def what_waits_costs_nothing(code: Code) -> None:
    code.edit(f"{LEDGER}.flows._MOVE", "THEN locked.cost + change.cost", "THEN locked.cost")


@named_by(
    "what a key's jobs used is in its usage, which also tells of jobs that were deleted",
    scenarios.a_job_runs,
)
def what_a_commit_used_is_not_entered(code: Code) -> None:
    joined = "JOIN jobs ON jobs.id = used.job_id"
    code.edit(f"{LEDGER}.commit._WRITE", joined, f"{joined} AND false")


@named_by("a flow's bytes are those of its outputs", scenarios.a_job_runs)
def outputs_count_as_one_byte_each(code: Code) -> None:
    count = _Book._count

    def count_items(book: _Book, row: Any, state: ItemState, seconds: float) -> None:
        count(book, row, state, seconds)
        book.flows[row.flow_id].bytes = len(book.outputs)

    code.replace(f"{LEDGER}.commit._Book._count", count_items)


@named_by(
    "an item waits if and only if it stands in the queue, unless its job is paused",
    scenarios.a_lost_worker_comes_back,
)
def what_is_to_run_again_gets_no_row_in_the_queue(code: Code) -> None:
    code.edit(f"{LEDGER}.requeue._REQUEUE", "WHERE jobs.state <> 'paused'", "WHERE false")


@named_by(
    "an item waits if and only if it stands in the queue, unless its job is paused",
    scenarios.a_job_is_paused_while_it_runs,
)
def what_comes_back_to_a_paused_job_is_queued(code: Code) -> None:
    code.edit(f"{LEDGER}.requeue._REQUEUE", "WHERE jobs.state <> 'paused'", "")


@named_by(
    "an item waits if and only if it stands in the queue, unless its job is paused",
    scenarios.a_paused_job_is_resumed,
)
def a_resume_changes_the_state_and_queues_nothing(code: Code) -> None:
    code.forget(f"{LEDGER}.pause.enqueue")


@named_by(
    "an item that runs is held by the lease that it names", scenarios.a_lost_worker_comes_back
)
def a_sweeper_drops_the_lease_and_forgets_its_items(code: Code) -> None:
    code.forget(f"{LEDGER}.sweep.requeue")


@named_by(
    "an item that runs is held by the lease that it names",
    scenarios.one_of_a_batch_ends_before_the_others,
)
def the_first_commit_ends_the_lease_of_the_whole_batch(code: Code) -> None:
    code.edit(
        f"{LEDGER}.commit._HELD",
        "DELETE FROM leases WHERE token = :token AND items <@ cast(:items AS bigint[])",
        "DELETE FROM leases WHERE token = :token",
    )


def drop_the_fence(code: Code) -> None:
    """A commit asks neither whether its lease lives nor whether it still holds the items."""
    code.edit(f"{LEDGER}.commit._HELD", "AND lease_token = :token AND state = 'running'", "")
    code.edit(
        f"{LEDGER}.commit._HELD",
        "SELECT worker FROM closed UNION ALL SELECT worker FROM shrunk",
        "SELECT 'worker' AS worker",
    )


@named_by(
    "an item has all of its outputs if it is done, and none otherwise",
    scenarios.a_lost_worker_comes_back,
)
def outputs_are_kept_of_a_lease_that_was_lost(code: Code) -> None:
    drop_the_fence(code)


@named_by(
    "an item has all of its outputs if it is done, and none otherwise",
    scenarios.a_worker_ends_its_items_though_their_job_was_cancelled,
)
def a_cancel_takes_what_is_done_and_leaves_its_outputs(code: Code) -> None:
    next_state = _Book._next_state

    def cancelled_first(book: _Book, result: Result, row: Any) -> ItemState:
        if row.job_state == JobState.CANCELLING:
            return ItemState.CANCELLED
        return next_state(book, result, row)

    code.replace(f"{LEDGER}.commit._Book._next_state", cancelled_first)


@named_by("an output names its item's job, and that job's tenant", scenarios.a_job_runs)
def outputs_are_kept_under_another_tenant(code: Code) -> None:
    code.edit(
        f"{LEDGER}.commit._HELD",
        "locked.tenant_id, locked.lane",
        "'other' AS tenant_id, locked.lane",
    )


@named_by(
    "no output is there twice", scenarios.a_lost_worker_comes_back_while_another_runs_its_items
)
def neither_fence_nor_constraint_keeps_out_a_second_output(code: Code) -> None:
    drop_the_fence(code)
    code.during(outputs_that_may_be_there_twice())


@named_by(
    "a job that has ended has no item that waits or runs",
    scenarios.a_job_is_cancelled_while_it_runs,
)
def a_cancel_does_not_wait_for_what_runs(code: Code) -> None:
    def end_at_once(session: Session, job_ids: list[str]) -> None:
        for job_id in job_ids:
            settle.end(session, session.get_one(Job, job_id), JobState.CANCELLING)

    code.replace(f"{LEDGER}.cancel.settle", end_at_once)


@named_by(
    "a job that has ended has no item that waits or runs",
    scenarios.a_job_is_retried,
)
def a_retry_queues_the_items_of_a_job_that_stays_ended(code: Code) -> None:
    code.edit("shared.services.retries._REOPEN", "SET state = 'queued',", "SET")


@named_by(
    "a job of which no item waits or runs has ended, or is about to",
    scenarios.a_job_runs,
)
def a_commit_of_the_last_item_does_not_end_the_job(code: Code) -> None:
    code.forget(f"{LEDGER}.commit.settle")


@named_by(
    "a job of which no item waits or runs has ended, or is about to",
    scenarios.an_item_always_kills_its_worker,
)
def a_last_item_that_crashed_too_often_does_not_end_the_job(code: Code) -> None:
    code.forget(f"{LEDGER}.sweep.settle")


@named_by(
    "a job of which no item waits or runs has ended, or is about to",
    scenarios.a_deadline_passes,
)
def a_deadline_ends_the_items_and_not_the_job(code: Code) -> None:
    code.forget(f"{LEDGER}.expire.settle")


@named_by("an item was not tried more often than it may be", scenarios.an_item_always_raises)
def an_item_gets_one_attempt_more_than_it_may_have(code: Code) -> None:
    more = settings().model_copy(update={"max_attempts": settings().max_attempts + 1})
    code.replace(f"{LEDGER}.commit.settings", lambda: more)


@named_by(
    "an item was not tried more often than it may be", scenarios.an_item_always_kills_its_worker
)
def an_item_may_kill_one_worker_after_the_other(code: Code) -> None:
    code.replace(f"{LEDGER}.sweep._after_crash", lambda *_: ItemState.QUEUED)


@named_by("a webhook that a job names is told of the job's end", scenarios.a_job_runs)
def an_end_is_not_announced(code: Code) -> None:
    code.forget(f"{LEDGER}.settle.announce")


@named_by("a job's end has one event", scenarios.a_job_runs)
def an_end_is_announced_twice(code: Code) -> None:
    def announce_twice(session: Session, job: Job, state: JobState) -> None:
        webhooks.announce(session, job, state)
        webhooks.announce(session, job, state)

    code.replace(f"{LEDGER}.settle.announce", announce_twice)


@named_by(ILLEGAL_CHANGE, scenarios.a_job_is_cancelled_while_it_runs)
def a_cancel_ends_what_is_done_too(code: Code) -> None:
    code.edit(f"{LEDGER}.waiting._END", "AND state = 'queued'", "AND state IN ('queued', 'done')")


@named_by(ILLEGAL_CHANGE, scenarios.a_job_is_retried)
def a_retry_runs_what_is_done_again(code: Code) -> None:
    code.edit("shared.services.retries._AGAIN", "IN ('failed', ", "IN ('done', 'failed', ")


@named_by(ILLEGAL_CHANGE, scenarios.a_lost_worker_comes_back)
def a_commit_ends_what_waits_to_run_again(code: Code) -> None:
    drop_the_fence(code)
    code.edit(
        f"{LEDGER}.commit._WRITE",
        "AND items.lease_token = :token AND items.state = 'running'",
        "",
    )


@named_by(ENDED_TWICE, scenarios.an_item_always_raises)
def every_claim_has_the_token_that_was_made_first(code: Code) -> None:
    code.replace(f"{LEDGER}.claim.uuid4", partial(UUID, int=1))


@named_by(OBJECT_MISSING, scenarios.a_job_runs)
def the_storage_takes_every_output_and_keeps_none(code: Code) -> None:
    code.forget("shared.storage.FolderStorage.put")


@named_by(OBJECT_MISSING, scenarios.a_lost_worker_comes_back_after_another_ran_its_items)
def a_fenced_worker_deletes_what_it_stored_though_another_names_it(code: Code) -> None:
    write_once = writing._write_once

    def write_once_and_tidy(lease: Any, results: list[Any], conclude: Any) -> Any:
        try:
            return write_once(lease, results, conclude)
        except writing.Fenced:
            for output in (output for result in results for output in result.outputs):
                storage().delete(output.key)
            raise

    code.replace("worker.writing._write_once", write_once_and_tidy)


@named_by(OBJECT_ANOTHER, scenarios.a_job_runs)
def a_stream_is_stored_from_where_hashing_left_it(code: Code) -> None:
    def store(encoded: Encoded, key: str) -> None:
        read_to_its_end = io.BytesIO(encoded.content)
        read_to_its_end.read()
        storage().put(key, read_to_its_end, media_type=encoded.media_type)

    code.replace("worker.media.Encoded.store", store)


@named_by("an item that runs or is done was tried", scenarios.a_job_runs)
def a_claim_spends_no_attempt(code: Code) -> None:
    code.edit(f"{LEDGER}.claim._CLAIM", "attempt = attempt + 1, ", "")


@named_by("a lease holds an item that runs", scenarios.a_job_runs)
def a_lease_stays_after_its_last_item(code: Code) -> None:
    code.edit(
        f"{LEDGER}.commit._HELD",
        "DELETE FROM leases WHERE token = :token AND items",
        "UPDATE leases SET stage = stage WHERE token = :token AND items",
    )


@named_by(
    "a training waits for its data sets only while one of them is being prepared",
    scenarios.a_trainings_file_cannot_be_prepared,
)
def a_training_outlives_its_data_sets_preparation(code: Code) -> None:
    code.forget(f"{LEDGER}.settle.end_waiting")


@named_by("a job's final state is what its counters say", scenarios.an_item_always_raises)
def every_job_that_ends_has_succeeded(code: Code) -> None:
    code.replace(f"{LEDGER}.settle._final_state", lambda *_: JobState.SUCCEEDED)

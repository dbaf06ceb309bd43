"""What must always be true of the ledger, each as a query for the rows that break it.

`atelier doctor` asks them of a running installation, the tests after every fault.
"""

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.services.usage import ALL_USAGE

_SHOWN = 100

INVARIANTS = {
    "a job's counters are what a recount of its items gives": """
        SELECT jobs.id FROM jobs LEFT JOIN items ON items.job_id = jobs.id AND items.step = 'run'
        GROUP BY jobs.id
        HAVING (jobs.total, jobs.queued, jobs.running, jobs.done, jobs.failed, jobs.cancelled,
            jobs.expired)
            IS DISTINCT FROM (count(items.id), count(*) FILTER (WHERE items.state = 'queued'),
                count(*) FILTER (WHERE items.state = 'running'),
                count(*) FILTER (WHERE items.state = 'done'),
                count(*) FILTER (WHERE items.state = 'failed'),
                count(*) FILTER (WHERE items.state = 'cancelled'),
                count(*) FILTER (WHERE items.state = 'expired'))""",
    "a flow's counters are what a recount of the queue and its running items gives": """
        SELECT flows.id FROM flows LEFT JOIN items ON items.flow_id = flows.id
        LEFT JOIN queue ON queue.item_id = items.id GROUP BY flows.id
        HAVING (flows.queued, flows.running) IS DISTINCT FROM (
            count(queue.item_id), count(*) FILTER (WHERE items.state = 'running'))""",
    "a flow's cost is that of its queue": """
        SELECT flows.id FROM flows LEFT JOIN (
            SELECT flow_id, sum(cost) AS cost FROM queue GROUP BY flow_id) waiting
        ON waiting.flow_id = flows.id
        WHERE abs(flows.cost - coalesce(waiting.cost, 0)) > 0.001 + 0.00001 * flows.cost""",
    "a flow's bytes are those of its outputs": """
        SELECT flows.id FROM flows LEFT JOIN (
            SELECT items.flow_id, sum(outputs.bytes) AS bytes
            FROM outputs JOIN items ON items.id = outputs.item_id GROUP BY items.flow_id) made
        ON made.flow_id = flows.id
        WHERE flows.bytes <> coalesce(made.bytes, 0)""",
    "an item waits if and only if it stands in the queue, unless its job is paused": """
        SELECT coalesce(waiting.id, queue.item_id)
        FROM (SELECT items.id FROM items JOIN jobs ON jobs.id = items.job_id
            WHERE items.state = 'queued' AND jobs.state <> 'paused') waiting
        FULL JOIN queue ON queue.item_id = waiting.id
        WHERE waiting.id IS NULL OR queue.item_id IS NULL""",
    "an item that runs is held by the lease that it names": """
        SELECT items.id FROM items LEFT JOIN leases ON leases.token = items.lease_token
        WHERE items.state = 'running'
            AND (leases.token IS NULL OR items.id <> ALL(leases.items))""",
    "an item has all of its outputs if it is done, and none otherwise": """
        SELECT items.id FROM items JOIN jobs ON jobs.id = items.job_id
        LEFT JOIN outputs ON outputs.item_id = items.id
        WHERE jobs.kind IN ('generation', 'embedding') AND items.step = 'run' GROUP BY items.id
        HAVING count(outputs.id) <>
            CASE WHEN items.state = 'done' THEN (items.params->>'n')::int ELSE 0 END""",
    "an output names its item's job, and that job's tenant": """
        SELECT outputs.id FROM outputs
        LEFT JOIN items ON items.id = outputs.item_id AND items.job_id = outputs.job_id
        LEFT JOIN jobs ON jobs.id = items.job_id AND jobs.tenant_id = outputs.tenant_id
        WHERE jobs.id IS NULL""",
    "no output is there twice": """
        SELECT min(id) FROM outputs GROUP BY item_id, index HAVING count(*) > 1""",
    "a job that has ended has no item that waits or runs": """
        SELECT id FROM jobs
        WHERE state IN ('succeeded', 'partial', 'failed', 'cancelled', 'expired')
            AND EXISTS (SELECT FROM items
                WHERE items.job_id = jobs.id AND items.state IN ('queued', 'running'))""",
    "a job of which no item waits or runs has ended, or is about to": """
        SELECT id FROM jobs WHERE state IN ('queued', 'running', 'paused', 'cancelling')
        AND NOT EXISTS (SELECT FROM items
            WHERE items.job_id = jobs.id AND items.state IN ('queued', 'running'))""",
    "an item was not tried more often than it may be": """
        SELECT id FROM items WHERE attempt > :attempts + crashes OR crashes > :crashes""",
    "an item that runs or is done was tried": """
        SELECT id FROM items WHERE state IN ('running', 'done') AND attempt < 1""",
    "a lease holds an item that runs": """
        SELECT token FROM leases WHERE NOT EXISTS (SELECT FROM items
            WHERE items.id = ANY(leases.items) AND items.lease_token = leases.token)""",
    "a job's final state is what its counters say": """
        SELECT id FROM jobs WHERE total > 0 AND (
            (state = 'succeeded' AND done < total)
            OR (state = 'partial' AND (done = 0 OR failed = 0))
            OR (state = 'cancelled' AND done = total)
            OR (state = 'expired' AND expired = 0))""",
    "a training waits for its data sets only while one of them is being prepared": """
        SELECT id FROM jobs
        WHERE kind = 'training' AND state = 'validating' AND NOT EXISTS (
            SELECT FROM datasets WHERE datasets.state = 'preparing'
                AND datasets.id IN (jobs.dataset_id, jobs.validation_dataset_id))""",
    # Jobs of no known key may be older than usage is.
    "what a key's jobs used is in its usage, which also tells of jobs that were deleted": f"""
        SELECT made.key_id FROM (
            SELECT key_id, sum(compute_seconds) AS seconds, sum(done) AS done
            FROM jobs WHERE key_id IS NOT NULL GROUP BY key_id) made
        LEFT JOIN (
            SELECT key_id, sum(compute_seconds) AS seconds, sum(items_done) AS done
            FROM {ALL_USAGE} entries GROUP BY key_id) told USING (key_id)
        WHERE coalesce(told.done, 0) < made.done
            OR coalesce(told.seconds, 0) < made.seconds - (0.001 + 0.00001 * made.seconds)""",
    "a webhook that a job names is told of the job's end": """
        SELECT jobs.id FROM jobs JOIN webhooks ON webhooks.id = jobs.webhook_id
        WHERE jobs.finished_at > greatest(webhooks.created_at, webhooks.enabled_at)
            AND jobs.finished_at < coalesce(webhooks.disabled_at, 'infinity')
            -- Older events may have been deleted.
            AND jobs.finished_at > now() - interval '1 day'
            AND NOT EXISTS (SELECT FROM webhook_events
                WHERE webhook_events.job_id = jobs.id
                    AND webhook_events.created_at >= jobs.finished_at)""",
    "a job's end has one event": """
        SELECT jobs.id FROM jobs JOIN webhook_events ON webhook_events.job_id = jobs.id
            AND webhook_events.created_at >= jobs.finished_at
        GROUP BY jobs.id HAVING count(*) > 1""",
}


def violations(session: Session, attempts: int, crashes: int) -> dict[str, list[Any]]:
    """Every invariant that does not hold, with up to a hundred rows that break it.

    `attempts` and `crashes` are the most that an item may have.
    """
    names = {"attempts": attempts, "crashes": crashes}
    found = {}
    for invariant, query in INVARIANTS.items():
        rows = session.execute(text(f"{query} LIMIT {_SHOWN}"), names).scalars().all()
        if rows:
            found[invariant] = list(rows)
    return found

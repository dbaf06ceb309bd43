"""What the system around a model costs. One line of JSON; run: python -m tests.benchmarks.ledger

* overhead_ratio: items/s of a stand-in of 20 ms an item, the whole system against its bare loop
* no_cost_items_per_s: claim, store in a folder and commit of a stand-in that costs nothing
* accept_100k_s: a job of 100,000 items over HTTP until 202
* status_p99_ms: the status of a job of 100,000 items while it runs, items of 20 ms; and
  status_saturated_p99_ms: of items that cost nothing, whose worker and database take all cores
* start_p95_ms: one item on an idle system, from the request until a worker has started it
"""

import json
import time
from typing import Any

from shared.db import transaction
from shared.services import jobs
from tests.benchmarks.installation import Installation, installation
from tests.families.stand_in import StandIn, StandInParams
from tests.ledger import add_stand_in

ITEMS = 640
SECONDS = 0.02
BATCH = 16


class _Run:
    def should_stop(self) -> bool:
        return False

    def progress(self, fraction: float) -> None:
        """Nobody asks."""


def bare_items_per_s() -> float:
    """The stand-in alone, in batches as the runner makes them."""
    from worker.family import Request

    requests = [Request(StandInParams(n=1, seed=1, seconds=SECONDS, fault=None, shape=""))] * BATCH
    began = time.perf_counter()
    for _ in range(ITEMS // BATCH):
        list(StandIn().generate(None, requests, _Run()))
    return ITEMS / (time.perf_counter() - began)


def submit(on: Installation, items: int, params: dict[str, Any]) -> str:
    body = {"kind": "generation", "model": "stand-in", "items": [{"params": params}] * items}
    return str(on.client.post("/api/v1/jobs", body)["id"])


def items_per_s(on: Installation, items: int, seconds: float) -> float:
    """From the job's first start to its end, by the database's clock."""
    job_id = submit(on, items, {"seconds": seconds})
    on.client.wait(job_id, lambda _: None)
    with transaction() as session:
        job = jobs.get(session, on.tenant_id, job_id)
        assert job.started_at is not None
        assert job.finished_at is not None
        return items / (job.finished_at - job.started_at).total_seconds()


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def start_ms(on: Installation, times: int = 60) -> list[float]:
    """From just before the request until the item was started, for single items in turn."""
    found = []
    for _ in range(times):
        began = time.time()
        job_id = submit(on, 1, {})
        on.client.wait(job_id, lambda _: None)
        with transaction() as session:
            started = jobs.get(session, on.tenant_id, job_id).started_at
        assert started is not None
        found.append(1000 * (started.timestamp() - began))
    return found


def accept_and_status(on: Installation, seconds: float) -> tuple[float, list[float]]:
    """Seconds until a job of 100,000 items is accepted; milliseconds of answers on its state."""
    began = time.perf_counter()
    job_id = submit(on, 100_000, {"seconds": seconds})
    accepted_s = time.perf_counter() - began
    answers = []
    for _ in range(300):
        asked = time.perf_counter()
        on.client.get(f"/api/v1/jobs/{job_id}")
        answers.append(1000 * (time.perf_counter() - asked))
        time.sleep(0.01)
    on.client.post(f"/api/v1/jobs/{job_id}/cancel", {})
    return accepted_s, answers


def main() -> None:
    with installation(ATELIER_FAMILIES="tests.families.stand_in") as on:
        add_stand_in(on.tenant_id)
        items_per_s(on, BATCH, 0.0)  # the worker warms up
        started = start_ms(on)
        bare = bare_items_per_s()
        whole = items_per_s(on, ITEMS, SECONDS)
        free = items_per_s(on, 3200, 0.0)
        accepted_s, answers = accept_and_status(on, SECONDS)
        _, saturated = accept_and_status(on, 0.0)
    found = {
        "overhead_ratio": round(whole / bare, 3),
        "bare_items_per_s": round(bare, 1),
        "no_cost_items_per_s": round(free, 1),
        "accept_100k_s": round(accepted_s, 2),
        "status_p99_ms": round(percentile(answers, 0.99), 1),
        "status_saturated_p99_ms": round(percentile(saturated, 0.99), 1),
        "start_p50_ms": round(percentile(started, 0.5), 1),
        "start_p95_ms": round(percentile(started, 0.95), 1),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

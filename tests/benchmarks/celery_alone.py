"""The same work through plain Celery: what the ledger costs beside a queue that keeps no books. One
line of JSON; run: python -m tests.benchmarks.celery_alone (about two minutes).

* ours_items_per_s: one job of 10,000 items of a stand-in that costs nothing, by the one worker for
  it that `atelier up` starts, from the request over HTTP until the job has succeeded
* celery_items_per_s: 10,000 tasks that do nothing, on the same Valkey, by one Celery worker with
  its defaults (a process for each core, prefetch of 4), late acknowledgement and stored results;
  from the first send, all by one producer on one connection, until the last result is stored
* ratio: ours to theirs. Each rate is the median of three rounds, taken in turns; *_rounds has all
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery
from redis import Redis

from shared.settings import environment, settings
from tests.benchmarks.installation import ROOT, Installation, installation
from tests.benchmarks.ledger import submit
from tests.ledger import add_stand_in

ITEMS = 10_000
ROUNDS = 3
_WARM_UP = 200
_POLL_S = 0.05

# Its worker has the addresses from the environment, by Celery's own names.
app = Celery("plain")
app.conf.update(task_acks_late=True)


@app.task(name="nothing")
def nothing(number: int) -> int:
    return number


def of_ours(on: Installation, items: int) -> float:
    """Items a second of a job, asked for as a client would."""
    began = time.perf_counter()
    job_id = submit(on, items, {})
    while (state := on.client.get(f"/api/v1/jobs/{job_id}")["state"]) in {"queued", "running"}:
        time.sleep(_POLL_S)
    took_s = time.perf_counter() - began
    assert state == "succeeded", state
    return items / took_s


def of_celery(results: Redis, items: int) -> float:
    """Tasks a second. Their results are counted where they are stored: fetching costs nothing."""
    results.flushdb()
    began = time.perf_counter()
    with app.producer_or_acquire() as producer:
        for number in range(items):
            nothing.apply_async((number,), producer=producer)
    while results.dbsize() < items:
        time.sleep(_POLL_S)
    return items / (time.perf_counter() - began)


@contextmanager
def celery_worker(broker_url: str, results_url: str) -> Iterator[None]:
    """A worker as `celery worker` starts it."""
    addresses = {"CELERY_BROKER_URL": broker_url, "CELERY_RESULT_BACKEND": results_url}
    # The sender has no results address: with one it would subscribe to each task's result.
    app.conf.update(broker_url=broker_url)
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "tests.benchmarks.celery_alone", "worker"],
        env=environment() | addresses,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)
        app.close()


def main() -> None:
    ours: list[float] = []
    theirs: list[float] = []
    with installation(ATELIER_FAMILIES="tests.families.stand_in") as on:
        add_stand_in(on.tenant_id)
        # Databases of their own in the same Valkey.
        valkey, _, _ = settings().required("redis_url").rpartition("/")
        broker_url, results_url = f"{valkey}/1", f"{valkey}/2"
        with celery_worker(broker_url, results_url), Redis.from_url(results_url) as results:
            of_ours(on, _WARM_UP)
            of_celery(results, _WARM_UP)
            for _ in range(ROUNDS):
                ours.append(of_ours(on, ITEMS))
                theirs.append(of_celery(results, ITEMS))
    print(json.dumps(told(ours, theirs)))


def told(ours: list[float], theirs: list[float]) -> dict[str, object]:
    rates = {"ours": statistics.median(ours), "celery": statistics.median(theirs)}
    return {
        "ours_items_per_s": round(rates["ours"]),
        "celery_items_per_s": round(rates["celery"]),
        "ratio": round(rates["ours"] / rates["celery"], 2),
        "ours_rounds": [round(each) for each in ours],
        "celery_rounds": [round(each) for each in theirs],
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()

"""How soon the items of a lost worker run again, with the default leases and sweeps. One line of
JSON; run: python -m tests.benchmarks.recovery (about ten minutes).

* killed_worker_s: a worker is SIGKILLed with all its processes at a random moment of the first 15 s
  of a batch; for each round the seconds until all items of the batch run again, under another
  worker that was there all along; killed_worker_max_s: the longest
* killed_child_s, killed_child_max_s: the same where only the process that computes is killed, and
  its parent lives on
* seed: of the random moments
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import psutil
from sqlalchemy import text

from shared.db import transaction
from shared.queues import hint
from shared.services import jobs, workers
from shared.settings import Settings, settings
from shared.states import Lane
from shared.tables.job import Job
from tests.benchmarks.depth import ledger
from tests.chaos.processes import QUICK, WORKER, Group, sweeper
from tests.ledger import look, submit
from tests.waiting import until

ROUNDS = 5
_ITEMS = 16
_ITEM_SECONDS = 10.0
"""So that a batch outlasts its recovery."""
_LATEST_S = 15.0
"""Into the batch: longer than from one renewal of the lease to the next."""

# The processes of the fault suite are quick; these are not.
DEFAULTS = {
    name: str(Settings.model_fields[name.removeprefix("ATELIER_").lower()].default)
    for name in QUICK
}

_HOLDERS = text("SELECT DISTINCT worker FROM leases")
_RUN_AGAIN = text("""
    SELECT count(*) FROM items JOIN leases ON leases.token = items.lease_token
    WHERE items.job_id = :job AND items.state = 'running' AND items.attempt = 2
""")

Kill = Callable[[Group], None]


class Pair:
    """Two workers of one lane."""

    def __init__(self) -> None:
        self.groups = [_worker(), _worker()]

    def make_good(self) -> None:
        """Replace a worker that has ended; returns once both have reported themselves."""
        self.groups = [group if group.child.poll() is None else _worker() for group in self.groups]
        until(self._are_up)

    def holder(self) -> Group:
        """The one that runs the batch."""
        with transaction() as session:
            (name,) = session.execute(_HOLDERS).scalars()
        return next(group for group in self.groups if _name(group) == name)

    def _are_up(self) -> bool:
        with transaction() as session:
            alive = {worker.name for worker in workers.alive(session)}
        return {_name(group) for group in self.groups} <= alive


def _worker() -> Group:
    return Group(*WORKER, "text", **DEFAULTS)


def _name(group: Group) -> str:
    """What a worker calls itself in the ledger."""
    return f"{settings().worker_name}:{group.child.pid}"


@contextmanager
def pair() -> Iterator[Pair]:
    made = Pair()
    try:
        yield made
    finally:
        for group in made.groups:
            group.kill()


def kill_worker(group: Group) -> None:
    group.kill()


def kill_child(group: Group) -> None:
    (child,) = psutil.Process(group.child.pid).children()
    os.kill(child.pid, signal.SIGKILL)


def runs_again(job: Job) -> bool:
    with transaction() as session:
        return session.execute(_RUN_AGAIN, {"job": job.id}).scalar_one() == _ITEMS


def seconds_to_recover(tenant_id: str, both: Pair, kill: Kill, wait_s: float) -> float:
    """From the kill, so long into a batch, until all of its items run again."""
    both.make_good()
    job = submit(tenant_id, [{"seconds": _ITEM_SECONDS}] * _ITEMS)
    hint(Lane.TEXT)
    until(lambda: look(job).running == _ITEMS)
    holder = both.holder()
    time.sleep(wait_s)

    began = time.monotonic()
    kill(holder)
    until(lambda: runs_again(job), within_s=180)
    took_s = time.monotonic() - began

    with transaction() as session:
        jobs.cancel(session, tenant_id, job.id)
    until(lambda: look(job).state == "cancelled")
    return took_s


def main() -> None:
    seed = Random().randrange(10_000)
    random = Random(seed)
    found: dict[str, object] = {}
    with ledger() as tenant_id, sweeper(**DEFAULTS), pair() as both:
        for name, kill in (("killed_worker", kill_worker), ("killed_child", kill_child)):
            took = [
                seconds_to_recover(tenant_id, both, kill, random.uniform(0, _LATEST_S))
                for _ in range(ROUNDS)
            ]
            found[f"{name}_s"] = [round(each, 1) for each in took]
            found[f"{name}_max_s"] = round(max(took), 1)
    print(json.dumps({**found, "seed": seed}))


if __name__ == "__main__":
    main()

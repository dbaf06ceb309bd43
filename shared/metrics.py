"""Metrics of every process, gathered in Postgres: one address to scrape, whatever runs where.

Processes count with prometheus_client; a thread adds what is new to the table `metrics` every few
seconds. What a killed process had not yet added is lost; the ledger itself loses nothing.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Histogram
from sqlalchemy import event
from sqlalchemy.orm import Session

from shared import wall
from shared.db import transaction
from shared.services import metrics as kept

log = logging.getLogger(__name__)

REGISTRY = CollectorRegistry()
_EVERY_S = 5.0
_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
_WAITS = (0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600)

ACCEPTED = Counter("atelier_accepted_items", "Items accepted.", ["lane"], registry=REGISTRY)
CLAIMS = Counter("atelier_claims", "Claims that took something.", ["lane"], registry=REGISTRY)
ITEMS = Counter(
    "atelier_items",
    "What became of claimed items: done, failed, cancelled, or queued again.",
    ["lane", "became"],
    registry=REGISTRY,
)
RETRIES = Counter(
    "atelier_retries",
    "Items queued again: after an error, a crash, or by a user. Releases are none.",
    ["lane", "reason"],
    registry=REGISTRY,
)
COMMITS = Counter("atelier_commits", "Commits of results.", registry=REGISTRY)
FENCED = Counter("atelier_fenced_commits", "Commits refused: lease lost.", registry=REGISTRY)
CRASHES = Counter("atelier_crashed_leases", "Leases that expired.", ["lane"], registry=REGISTRY)
HINTS = Counter("atelier_hints", "Hints sent to Redis.", ["lane"], registry=REGISTRY)
RENEWALS = Counter("atelier_lease_renewals", "Renewals of leases.", registry=REGISTRY)
DELIVERIES = Counter(
    "atelier_webhook_attempts", "Attempts to call a webhook.", ["taken"], registry=REGISTRY
)
STAGE = Histogram(
    "atelier_stage_seconds",
    "Time of a batch in each stage.",
    ["stage"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
WAIT = Histogram(
    "atelier_queue_wait_seconds",
    "Time from an item's turn to be claimed until it was, by the weight of its tenant.",
    ["lane", "weight"],
    buckets=_WAITS,
    registry=REGISTRY,
)


_COUNTED = "counted"


def count_at_commit(session: Session, counter: Counter, count: int) -> None:
    """Count what is certain only once the session's transaction has committed."""
    session.info.setdefault(_COUNTED, []).append((counter, count))


@event.listens_for(Session, "after_commit")
def _count(session: Session) -> None:
    for counter, count in session.info.pop(_COUNTED, ()):
        counter.inc(count)


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """Count the block's seconds to a stage."""
    began = perf_counter()
    try:
        yield
    finally:
        STAGE.labels(stage).observe(perf_counter() - began)
        start()


class _Flusher:
    """Adds to the table what this process has counted since the last time."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self._told: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, once in each process: a fork has the counts of its parent, and no thread."""
        if self.pid == os.getpid():
            return
        with self._lock:
            if self.pid == os.getpid():
                return
            if self.pid is not None:  # a fork: what was counted before is its parent's to tell
                self._told = dict(self._samples())
            self.pid = os.getpid()
            self._ended.clear()
            # As the same role of the database as who starts it.
            role = (wall.asked_for(),)
            self._thread = threading.Thread(
                target=self._run, args=role, name="metrics", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End the thread; counting goes on, and `start` begins anew."""
        with self._lock:
            if self._thread is None or self.pid != os.getpid():
                return
            self._ended.set()
            self._thread.join()
            self._thread, self.pid = None, None

    def flush(self) -> None:
        """Add what is new. Raises SQLAlchemyError; then it is added next time."""
        now = dict(self._samples())
        new = {key: value - self._told.get(key, 0.0) for key, value in now.items()}
        new = {key: value for key, value in new.items() if value}
        if new:
            with transaction() as session:
                kept.add(session, new)
            self._told = now

    def _run(self, tenant_id: str | None) -> None:
        wall.ask_for(tenant_id)
        while not self._ended.wait(_EVERY_S):
            try:
                self.flush()
            except Exception as error:
                log.warning("metrics are kept until the database answers: %s", error)

    def _samples(self) -> Iterator[tuple[tuple[str, str], float]]:
        for family in REGISTRY.collect():
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    yield (sample.name, kept.labels_text(sample.labels)), sample.value


_flusher = _Flusher()
start = _flusher.start
stop = _flusher.stop
flush = _flusher.flush

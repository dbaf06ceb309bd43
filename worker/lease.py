"""The worker's side of its leases: one thread renews them all and brings their stop flags."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy.orm import Session

from shared import metrics
from shared.db import transaction
from shared.errors import Stopped
from shared.log import about, kept
from shared.services.ledger import leases
from shared.settings import settings
from shared.states import Stage, Stop
from worker import identity

log = logging.getLogger(__name__)

BUDGET_S = {Stage.LOAD: 600.0, Stage.FORWARD: 300.0, Stage.ENCODE: 120.0, Stage.STORE: 300.0}
"""How long a stage may show no sign of work before its lease is left to expire."""

_KEPT_LINES = 40


class Lease:
    """One lease as its holder sees it: kept alive between `hold` and `release`."""

    def __init__(self, token: UUID, keeper: "Keeper", ids: Mapping[str, str] | None = None):
        self.token = token
        self.ids = {"lease": str(token), **(ids or {})}
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self.stop: Stop | None = None
        self._keeper = keeper
        self._stage = Stage.LOAD
        self._moved_at = time.monotonic()

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Name it in what is logged in the block, and remember those lines."""
        with about(**self.ids), kept(self.lines):
            yield

    def hold(self) -> None:
        """Have it renewed from now on."""
        self._keeper.add(self)

    def release(self) -> None:
        """Have it renewed no more."""
        self._keeper.remove(self)

    @property
    def stage(self) -> Stage:
        return self._stage

    def enter(self, stage: Stage) -> None:
        """Say what is being done now."""
        self._stage = stage
        self.touch()

    def touch(self) -> None:
        """Say that the work moves."""
        self._moved_at = time.monotonic()

    def progress(self, fraction: float) -> None:
        """Say that the work moves; with `should_stop`, all that a family sees of its host."""
        self.touch()

    def should_stop(self) -> bool:
        """True once the lease was asked to stop, or is lost. Asking counts as a sign of work."""
        self.touch()
        return self.stop is not None

    def check(self) -> None:
        """Raises Stopped once the lease should stop."""
        if self.should_stop():
            raise Stopped(str(self.stop))

    def moves(self) -> bool:
        """Whether the stage has shown a sign of work within its budget."""
        return time.monotonic() - self._moved_at < BUDGET_S[self._stage]


class Keeper:
    """Renews the leases of a process while their work moves, and reads their stop flags.

    `report` says that the process lives; it is called as often as leases are renewed.
    """

    def __init__(self, report: Callable[[], None]) -> None:
        self._report = report
        self._leases: dict[UUID, Lease] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look after nothing any more; returns once no connection is used."""
        self._ended.set()
        self._thread.join()

    def add(self, lease: Lease) -> None:
        with self._lock:
            self._leases[lease.token] = lease

    def remove(self, lease: Lease) -> None:
        with self._lock:
            self._leases.pop(lease.token, None)

    def _run(self) -> None:
        renewed_at = -settings().renew_seconds
        while not self._ended.is_set():
            renew = time.monotonic() - renewed_at >= settings().renew_seconds
            if renew:
                renewed_at = time.monotonic()
                self._say_alive()
            with self._lock:
                held = list(self._leases.values())
            for lease in held:
                self._look_after(lease, renew)
            self._ended.wait(settings().stop_poll_seconds)

    def _say_alive(self) -> None:
        try:
            self._report()
        except Exception as error:
            log.warning("this worker could not report itself: %s", error)

    def _look_after(self, lease: Lease, renew: bool) -> None:
        if identity.is_ending():
            lease.stop = lease.stop or Stop.SHUTDOWN
        try:
            with transaction() as session:
                if renew and lease.moves() and not self._renew(session, lease):
                    lease.stop = Stop.SHUTDOWN
                else:
                    lease.stop = lease.stop or leases.stop_flag(session, lease.token)
        except Exception as error:
            # The lease may outlive a short outage; if not, its commit is fenced.
            log.warning("lease %s could not be looked after: %s", lease.token, error)

    def _renew(self, session: Session, lease: Lease) -> bool:
        lines = "\n".join(list(lease.lines))
        metrics.RENEWALS.inc()
        return leases.renew(session, lease.token, lease.stage, lines)

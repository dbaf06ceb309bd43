"""The nemesis: does one harm after the other to a site, chosen by a seed, and mends each."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from shared.db import transaction
from shared.states import Lane
from tests.chaos.processes import QUICK, send_hints
from tests.chaos.proxy import Fault
from tests.chaos.site import Site, freeze, thaw
from tests.waiting import until

WORKERS = ("worker a", "worker b")
PROGRAMS = ("api", "sweeper", *WORKERS)
_LEASE_S = float(QUICK["ATELIER_LEASE_SECONDS"])
_STORAGE_FAULTS = (Fault.ERROR, Fault.ERROR_AFTER, Fault.LOST_ANSWER, Fault.SLOW, Fault.REFUSE)
_GONE_BACK = text("SELECT count(*) FROM watched WHERE was = 'running' AND became = 'queued'")


@dataclass
class Nemesis:
    """Its harms are methods; each returns once what it broke is mended."""

    site: Site
    random: Random
    done: Counter[str] = field(default_factory=Counter)
    """Harms by name."""
    mended: list[tuple[str, datetime]] = field(default_factory=list)
    """When each was over, by the database's clock."""

    def harms(self) -> list[Callable[[], None]]:
        if self.site.disk is not None:
            return [
                self.fill_the_disk,
                self.kill_a_worker,
                self.freeze_a_worker_past_its_lease,
                self.replace_a_worker,
                self.replace_the_api,
            ]
        return [
            self.kill_a_worker,
            self.freeze_a_worker_past_its_lease,
            self.replace_a_worker,
            self.kill_the_api,
            self.replace_the_api,
            self.kill_the_sweeper,
            self.flush_redis,
            self.stop_redis,
            self.leave_redis_half_open,
            self.send_every_hint_five_times,
            self.end_the_databases_connections,
            self.restart_the_database,
            self.take_all_connections,
            self.have_the_storage_fail,
        ]

    def run(self, seconds: float) -> None:
        """Do harm for so long; each kind once before any comes again."""
        ends_at = time.monotonic() + seconds
        waiting: list[Callable[[], None]] = []
        while time.monotonic() < ends_at:
            if not waiting:
                waiting = self.harms()
                self.random.shuffle(waiting)
            harm = waiting.pop()
            harm()
            self.done[harm.__name__] += 1
            self.mended.append((harm.__name__, self._now()))
            time.sleep(self.random.uniform(0.2, 1.5))

    def _now(self) -> datetime:
        while True:
            with suppress(SQLAlchemyError), transaction() as session:
                return session.execute(text("SELECT clock_timestamp()")).scalar_one()

    def _for_a_while(self) -> None:
        time.sleep(self.random.uniform(0.5, 3))

    def kill_a_worker(self) -> None:
        name = self.random.choice(WORKERS)
        self.site.kill(name)
        self.site.start(name)

    def freeze_a_worker_past_its_lease(self) -> None:
        program = self.site.programs[self.random.choice(WORKERS)]
        freeze(program)
        time.sleep(_LEASE_S + 2)
        thaw(program)

    def replace_a_worker(self) -> None:
        name = self.random.choice(WORKERS)
        self.site.programs.pop(name).stop()
        self.site.start(name)

    def kill_the_api(self) -> None:
        self.site.kill("api")
        self.site.start("api")

    def replace_the_api(self) -> None:
        """The new one takes the port as soon as the old one, which still answers, leaves it."""
        old = self.site.programs.pop("api")
        old.ask_to_stop()
        self.site.start("api")
        old.stop()

    def kill_the_sweeper(self) -> None:
        self.site.kill("sweeper")
        self.site.start("sweeper")

    def flush_redis(self) -> None:
        self.site.flush_redis()

    def stop_redis(self) -> None:
        with self.site.redis.showing(Fault.REFUSE):
            self._for_a_while()

    def leave_redis_half_open(self) -> None:
        with self.site.redis.showing(Fault.SILENT):
            self._for_a_while()

    def send_every_hint_five_times(self) -> None:
        send_hints(Lane.TEXT, 5)

    def end_the_databases_connections(self) -> None:
        self.site.terminate_backends()

    def restart_the_database(self) -> None:
        self.site.restart_postgres()

    def take_all_connections(self) -> None:
        url = self.site.database_url.replace("postgresql+psycopg://", "postgresql://")
        with ExitStack() as held:
            with suppress(psycopg.OperationalError):
                while True:
                    held.enter_context(psycopg.connect(url))
            self._for_a_while()

    def have_the_storage_fail(self) -> None:
        self.site.storage.share = self.random.choice((0.3, 1.0))
        with self.site.storage.showing(self.random.choice(_STORAGE_FAULTS)):
            self._for_a_while()

    def fill_the_disk(self) -> None:
        """Until something that could not be stored has gone back to the queue, and a while more."""
        assert self.site.disk is not None
        before = self._gone_back()
        with self.site.disk.full():
            until(lambda: self._gone_back() > before)
            self._for_a_while()

    def _gone_back(self) -> int:
        with transaction() as session:
            return int(session.execute(_GONE_BACK).scalar_one())


@contextmanager
def raging(site: Site, seed: int) -> Iterator[Nemesis]:
    """A nemesis on a site all of whose programs run; afterwards all of them run unharmed."""
    for name in PROGRAMS:
        site.start(name)
    site.await_api()
    site.await_workers(len(WORKERS))
    yield Nemesis(site, Random(seed))
    site.redis.healed()
    site.storage.healed()
    until(site.answers)

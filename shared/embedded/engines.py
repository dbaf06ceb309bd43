"""The embedded engines as one context: PostgreSQL and Valkey on a home, started and stopped."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from shared.embedded import postgres as postgres_engine
from shared.embedded import valkey as valkey_engine
from shared.embedded.accounts import Account, engine_account
from shared.embedded.console import say
from shared.embedded.errors import AddressInUse, EmbeddedError, EngineFailed
from shared.embedded.find import find_postgres, find_valkey
from shared.embedded.guardian import stop_leftovers
from shared.embedded.home import (
    Home,
    disk_full,
    locked,
    make_home,
    require_entry,
    require_space,
)
from shared.embedded.ports import kept_port
from shared.embedded.process import Process, Program, stop_all
from shared.embedded.reach import reachable
from shared.embedded.roles import for_api, make_api_role

# After a crash PostgreSQL first replays its log, of up to 8 GB.
START_LIMIT_S = 600.0
POLL_S = 0.02


@dataclass(frozen=True)
class Urls:
    database: str | None  # for SQLAlchemy; None when no PostgreSQL was wanted
    redis: str | None
    api_database: str | None = None  # the same database, for the API's own role


@dataclass
class Engines:
    urls: Urls
    processes: list[Process]


@contextmanager
def engines(home: Path, *, postgres: bool = True, valkey: bool = True) -> Iterator[Urls]:
    """Run the wanted engines on a home, which is made when it is not there.

    Both answer inside the context, and none is left after it. They are not watched: `up.serve`
    does that. Raises a subclass of EmbeddedError, whose message says what to do.
    """
    with opened(home) as house, started(house, postgres=postgres, valkey=valkey) as running:
        yield running.urls


@contextmanager
def opened(path: Path) -> Iterator[Home]:
    """Make and lock the home, and stop what an earlier run on it left."""
    home = make_home(path)
    with locked(home):
        for name in stop_leftovers(home.run):
            say(f"stopped {name}, left by an earlier run")
        yield home


@contextmanager
def started(
    home: Home,
    *,
    postgres: bool,
    valkey: bool,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Engines]:
    """Start the wanted engines one after the other, and stop them in reverse.

    When `cancelled` becomes true, the wait for an engine ends with KeyboardInterrupt.
    """
    account = engine_account(home.postgres)
    if postgres or valkey:
        require_entry(home, account)
        require_space(home.path)

    running = Engines(Urls(None, None), [])
    try:
        if postgres:
            running.urls = _postgres(home, account, running, cancelled)
        if valkey:
            broker = _valkey(home, account, running, cancelled)
            running.urls = replace(running.urls, redis=broker)
        yield running
    finally:
        for process in reversed(running.processes):
            stop_all([process])


def _postgres(
    home: Home, account: Account | None, running: Engines, cancelled: Callable[[], bool]
) -> Urls:
    binaries = reachable(find_postgres(), account, home)
    postgres_engine.prepare(home, binaries, account)

    def describe(port: int) -> Program:
        return postgres_engine.program(home, binaries, account, port)

    port = _start(postgres_engine.NAME, describe, home, running, cancelled)
    make_api_role(home, port)
    address = postgres_engine.url(home, port).replace("postgresql://", "postgresql+psycopg://", 1)
    return Urls(address, None, for_api(home, port))


def _valkey(
    home: Home, account: Account | None, running: Engines, cancelled: Callable[[], bool]
) -> str:
    binaries = reachable(find_valkey(), account, home)

    def describe(port: int) -> Program:
        return valkey_engine.program(home, binaries, account, port)

    port = _start(valkey_engine.NAME, describe, home, running, cancelled)
    return valkey_engine.url(home, port)


def _start(
    name: str,
    describe: Callable[[int], Program],
    home: Home,
    running: Engines,
    cancelled: Callable[[], bool],
) -> int:
    """Start an engine on the port it had before, or on another free one; returns the port."""
    port_file = home.run / f"{name}.port"
    for last in (False, False, True):
        port = kept_port(port_file)
        process = Process(describe(port), home.run)
        process.start()
        running.processes.append(process)
        try:
            _await_ready(process, home, cancelled)
        except AddressInUse:
            running.processes.remove(process)
            port_file.unlink()
            if last:
                raise
        else:
            return port
    raise AssertionError("the last attempt returns or raises")


def _await_ready(process: Process, home: Home, cancelled: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_LIMIT_S

    while not process.is_ready():
        if process.ended() is not None:
            raise _failure(process, home)
        if cancelled():
            raise KeyboardInterrupt
        if time.monotonic() > deadline:
            raise EngineFailed(f"{process} did not answer within {START_LIMIT_S:.0f} s.")
        time.sleep(POLL_S)


def _failure(process: Process, home: Home) -> EmbeddedError:
    """The error for an engine that ended instead of answering, told by its log."""
    tail = process.log_tail()
    if "Address already in use" in tail:
        return AddressInUse(f"The port of {process} was taken while it started.")
    if "No space left on device" in tail:
        return disk_full(home.path)

    data = home.path / process.program.name
    return EngineFailed(
        f"{process} could not start with the data in {data}. Its log, "
        f"{process.program.log}, ends:\n{tail}\n"
        "If the data is damaged, restore the folder from a backup, or move it away to begin empty."
    )

"""`atelier doctor`: what an installation rests on, looked at piece by piece."""

import io
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from migrations.commands import current, head
from shared import wall
from shared.db import reading
from shared.errors import AtelierError
from shared.ids import new_id
from shared.services import workers
from shared.services.ledger.invariants import INVARIANTS, violations
from shared.settings import settings
from shared.states import Lane
from shared.storage import BINARY, read, storage

_LITTLE_BYTES = 2 * 1024**3
_OLDEST_POSTGRES = 15
_CLOCK_S = 60.0

_NOW = text("SELECT extract(epoch FROM clock_timestamp())")
_SOMEBODY = "tenant_of_the_doctor"
_NAMED = text("SELECT wall.tenant(), row_security_active('jobs')")
_DEAD_ROWS = text("""
    SELECT relname, n_dead_tup FROM pg_stat_user_tables
    WHERE relname IN ('queue', 'items', 'jobs', 'flows', 'leases')
        AND n_dead_tup > 200000 + n_live_tup
    ORDER BY n_dead_tup DESC
""")


@dataclass(frozen=True)
class Finding:
    """What one look found."""

    what: str
    ok: bool
    told: str


class Fault(AtelierError):
    """Something does not stand as it should."""


def examine() -> Iterator[Finding]:
    """Look at everything, in the order in which one rests on the other."""
    for what, look in LOOKS.items():
        try:
            yield Finding(what, True, look())
        except AtelierError as error:
            yield Finding(what, False, error.message)
        except (SQLAlchemyError, RedisError, OSError) as error:
            yield Finding(what, False, str(error).splitlines()[0])


def _packages() -> str:
    missing = [name for name in ("torch", "transformers", "safetensors") if not find_spec(name)]
    if missing:
        raise Fault(f"{missing[0]} is missing: pip install 'atelier[worker]' where workers run")
    return "those of the workers are installed"


def _disk() -> str:
    free = shutil.disk_usage(settings().home).free
    if free < _LITTLE_BYTES:
        raise Fault(f"{free >> 20} MiB are free in {settings().home}; make room")
    return f"{free >> 30} GiB are free in {settings().home}"


def _database() -> str:
    with reading() as session:
        version = int(session.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
    if version < _OLDEST_POSTGRES:
        raise Fault(f"PostgreSQL {version} is too old; use {_OLDEST_POSTGRES} or later")
    found = current()
    if found != head():
        raise Fault(f"its tables are at {found}, this code needs {head()}: atelier migrate")
    return f"PostgreSQL {version} answers; its tables are at {found}"


def _wall() -> str:
    if settings().api_database_url is None:
        return "there is none: the API's services alone keep tenants apart"
    with wall.asking_for(_SOMEBODY), reading() as session:
        if session.execute(_NAMED).one() != (_SOMEBODY, True):
            raise Fault("the API's role sees the rows of all tenants; run atelier migrate")
    return "the API sees the rows of one tenant at a time"


def _clock() -> str:
    asked = time.time()
    with reading() as session:
        theirs = float(session.execute(_NOW).scalar_one())
    off = theirs - (asked + time.time()) / 2
    if abs(off) > _CLOCK_S:
        raise Fault(
            f"the database's clock is {off:.0f} s off this one's; signatures of requests expire "
            "with it: let both follow a time server"
        )
    return "this machine's and the database's agree"


def _ledger() -> str:
    """Every invariant: on a large installation this reads for minutes."""
    with reading() as session:
        found = violations(session, settings().max_attempts, settings().max_crashes)
    if found:
        invariant, rows = next(iter(found.items()))
        raise Fault(
            f"does not hold: {invariant} (for example {rows[0]}; {len(found)} in all). Stop the "
            "workers, keep a dump of the database and report it"
        )
    return f"all of its {len(INVARIANTS)} invariants hold"


def _growth() -> str:
    with reading() as session:
        dead = session.execute(_DEAD_ROWS).all()
    if dead:
        table, count = dead[0]
        raise Fault(
            f"{count} dead rows in {table} wait for autovacuum: look for a transaction that is "
            "held open (SELECT * FROM pg_stat_activity ORDER BY xact_start)"
        )
    return "dead rows are few"


def _gpu() -> str:
    # In a process of its own: torch is the workers' alone.
    ask = "from worker.device import describe, pick_device; print(describe(pick_device()))"
    asked = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        raise Fault(f"workers cannot tell their device: {asked.stderr.strip().splitlines()[-1]}")
    if asked.stdout.startswith("cpu") and shutil.which("nvidia-smi"):
        raise Fault("there is one, and torch does not see it: install a CUDA build of torch")
    return f"models run on {asked.stdout.strip()}"


def _redis() -> str:
    with Redis.from_url(settings().required("redis_url"), socket_timeout=5) as redis:
        redis.ping()
        return f"answers; its version is {redis.info('server')['redis_version']}"


def _storage() -> str:
    key = f"doctor/{new_id('file')}"
    storage().put(key, io.BytesIO(b"well"), media_type=BINARY)
    try:
        if read(key) != b"well":
            raise Fault("it gives back other bytes than were stored")
    finally:
        storage().delete(key)
    return "stores, reads and deletes"


def _workers() -> str:
    with reading() as session:
        served = {lane for worker in workers.alive(session) for lane in worker.lanes}
    idle = [str(lane) for lane in Lane if lane not in served]
    if idle:
        raise Fault(f"no worker serves {', '.join(idle)}")
    return "every lane has one"


LOOKS: dict[str, Callable[[], str]] = {
    "packages": _packages,
    "disk": _disk,
    "database": _database,
    "wall": _wall,
    "clock": _clock,
    "redis": _redis,
    "storage": _storage,
    "workers": _workers,
    "gpu": _gpu,
    "growth": _growth,
    "ledger": _ledger,
}

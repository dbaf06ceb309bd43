"""`atelier doctor`: what an installation rests on, looked at piece by piece."""

import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from migrations.commands import current, head
from shared.db import reading
from shared.errors import AtelierError
from shared.ids import new_id
from shared.services import workers
from shared.settings import settings
from shared.states import Lane
from shared.storage import BINARY, read, storage

_LITTLE_BYTES = 2 * 1024**3


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
    found = current()
    if found != head():
        raise Fault(f"its tables are at {found}, this code needs {head()}: atelier migrate")
    return f"answers; its tables are at {found}"


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
    "redis": _redis,
    "storage": _storage,
    "workers": _workers,
}

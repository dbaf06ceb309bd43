"""The doctor's looks at the engines: the database, its wall and its clock, Redis, the storage."""

import io
import time

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import text

from api.doctor.faults import Fault, answering, looking, remedied
from migrations.commands import current, head
from shared import storage as objects
from shared import wall as between_tenants
from shared.errors import AtelierError
from shared.ids import new_id
from shared.settings import settings

_OLDEST_POSTGRES = 15
_OLDEST_REDIS = (7, 2)
"""The oldest that the client library supports. Every Valkey calls itself 7.2 or later here."""
_CLOCK_S = 60.0

_NOW = text("SELECT extract(epoch FROM clock_timestamp())")
_SOMEBODY = "tenant_of_the_doctor"
_NAMED = text("SELECT wall.tenant(), row_security_active('jobs')")


def database() -> str:
    with looking() as session:
        version = int(session.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
    if version < _OLDEST_POSTGRES:
        raise Fault(f"PostgreSQL {version} is too old; use {_OLDEST_POSTGRES} or later")
    with answering():
        found = current()
    if found != head():
        raise Fault(f"its tables are at {found}, this code needs {head()}: atelier migrate")
    return f"PostgreSQL {version} answers; its tables are at {found}"


def wall() -> str:
    if settings().api_database_url is None:
        return "there is none: the API's services alone keep tenants apart"
    with between_tenants.asking_for(_SOMEBODY), looking() as session:
        if session.execute(_NAMED).one() != (_SOMEBODY, True):
            raise Fault("the API's role sees the rows of all tenants; run atelier migrate")
    return "the API sees the rows of one tenant at a time"


def clock() -> str:
    asked = time.time()
    with looking() as session:
        theirs = float(session.execute(_NOW).scalar_one())
    off = theirs - (asked + time.time()) / 2
    if abs(off) > _CLOCK_S:
        raise Fault(
            f"the database's clock is {off:.0f} s off this one's; signatures of requests expire "
            "with it: let both follow a time server"
        )
    return "this machine's and the database's agree"


def redis() -> str:
    url = settings().required("redis_url")
    reach = "see that Redis or Valkey runs, and what ATELIER_REDIS_URL names"
    with remedied(reach, RedisError), Redis.from_url(url, socket_timeout=5) as client:
        client.ping()
        told = client.info("server")
    version = tuple(int(part) for part in told["redis_version"].split(".")[:2])
    if version < _OLDEST_REDIS:
        oldest = ".".join(map(str, _OLDEST_REDIS))
        raise Fault(
            f"Redis {told['redis_version']} is too old; use Redis {oldest} or later, or Valkey"
        )
    name, of_valkey = told.get("server_name", "redis"), told.get("valkey_version")
    return f"{name} {of_valkey or told['redis_version']} answers"


def storage() -> str:
    key = f"doctor/{new_id('file')}"
    reach = "see what ATELIER_STORAGE_URL names, that it runs, and that its key may write there"
    with remedied(reach, AtelierError, OSError):
        objects.storage().put(key, io.BytesIO(b"well"), media_type=objects.BINARY)
        try:
            given = objects.read(key)
        finally:
            objects.storage().delete(key)
    if given != b"well":
        raise Fault(
            "it gives back other bytes than were stored: stop the workers, and look for a cache "
            "or a proxy before the storage, or a disk that fails"
        )
    return "stores, reads and deletes"

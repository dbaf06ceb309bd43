"""An installation to be hurt: engines of its own behind faulty proxies, its programs as processes,
its tenants as clients of the HTTP API.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import httpx
from redis import Redis
from sqlalchemy import create_engine, make_url, text

from migrations.commands import upgrade
from shared.db import forget_engine, transaction
from shared.embedded.engines import Engines, opened, started
from shared.embedded.home import secret
from shared.embedded.process import Process
from shared.services import workers
from shared.settings import adopt
from tests.ceph import Ceph
from tests.chaos.disk import Disk
from tests.chaos.processes import API, SWEEPER, WORKER, Group, free_port
from tests.chaos.proxy import Proxy, proxy
from tests.homes import scratch_home
from tests.settings import forget_settings
from tests.waiting import until

BUCKET = "works"


@dataclass
class Site:
    """What a test holds of it."""

    engines: Engines
    redis: Proxy
    storage: Proxy
    s3: Ceph
    folder: Path
    api_port: int = field(default_factory=free_port)
    programs: dict[str, Group] = field(default_factory=dict)
    disk: Disk | None = None
    """Where programs that start from now on store, if not in the bucket."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def database_url(self) -> str:
        return str(self.engines.urls.database)

    def start(self, name: str, **variables: str) -> Group:
        """Start a program: `api`, `sweeper`, or a worker by any other name."""
        argv = {"api": (*API, "--bind", f"127.0.0.1:{self.api_port}"), "sweeper": SWEEPER}
        within: Sequence[str] = ()
        if self.disk is not None:
            within, variables["ATELIER_STORAGE_URL"] = self.disk.within, self.disk.url
        command = argv.get(name, (*WORKER, "text"))
        program = Group(*command, within=within, log=self.folder / name, **variables)
        self.programs[name] = program
        return program

    def kill(self, name: str) -> None:
        self.programs.pop(name).kill()

    def await_api(self) -> None:
        until(self.answers)

    def await_workers(self, count: int = 1) -> None:
        """Return once so many workers have reported themselves since the tables were emptied."""

        def have_reported() -> bool:
            with transaction() as session:
                return len(workers.alive(session)) >= count

        until(have_reported)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.address}/api/v1/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def restart_postgres(self) -> None:
        """As an administrator does: what runs is rolled back, what is committed stays."""
        with self.without_postgres():
            pass

    @contextmanager
    def without_postgres(self) -> Iterator[None]:
        """Postgres is stopped while the block runs."""
        postgres = self._engine("postgres")
        postgres.ask_to_stop()
        until(lambda: postgres.ended() is not None)
        try:
            yield
        finally:
            postgres.start()
            until(postgres.is_ready)
            # The test's own connections are gone with the others.
            forget_engine()

    def _engine(self, name: str) -> Process:
        return next(one for one in self.engines.processes if one.program.name == name)

    def terminate_backends(self) -> int:
        """End every connection to the database but the one that asks. Returns how many."""
        end = text("""
            SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE application_name = 'atelier' AND pid <> pg_backend_pid()
        """)
        # Nobody else may end the connections of both roles.
        password = secret(self.folder / "home", "database_superuser_password")
        superuser = make_url(self.database_url).set(username="postgres", password=password)
        administrator = create_engine(superuser)
        with administrator.connect() as connection:
            count = connection.execute(end).scalar_one()
        administrator.dispose()
        forget_engine()
        return int(count)

    def flush_redis(self) -> None:
        with Redis.from_url(str(self.engines.urls.redis)) as redis:
            redis.flushall()

    def bucket(self):
        """The bucket as its owner sees it, past the proxy."""
        credentials = {
            "aws_access_key_id": self.s3.access_key,
            "aws_secret_access_key": self.s3.secret_key,
        }
        s3 = boto3.resource(
            "s3", endpoint_url=self.s3.endpoint, region_name="us-east-1", **credentials
        )
        return s3.Bucket(BUCKET)

    def heal_engines(self) -> None:
        """End every fault of the engines."""
        self.redis.healed()
        self.storage.healed()
        self.storage.methods = None
        self.storage.struck = 0

    def heal(self) -> None:
        """End every fault of the engines, and every program."""
        self.heal_engines()
        self.disk = None
        for name in list(self.programs):
            self.kill(name)


@contextmanager
def site(s3: Ceph) -> Iterator[Site]:
    """Its engines, migrated, and its settings in the environment; no program runs yet."""
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_home())
        house = stack.enter_context(opened(folder / "home"))
        engines = stack.enter_context(started(house, postgres=True, valkey=True))
        redis_url, s3_url = urlsplit(str(engines.urls.redis)), urlsplit(s3.endpoint)
        redis = stack.enter_context(proxy("127.0.0.1", redis_url.port or 0))
        storage = stack.enter_context(proxy("127.0.0.1", s3_url.port or 0, http=True))
        found = Site(engines, redis, storage, s3, folder)
        stack.callback(found.heal)
        adopt(
            {
                "ATELIER_HOME": str(folder / "home"),
                "ATELIER_DATABASE_URL": found.database_url,
                "ATELIER_API_DATABASE_URL": str(engines.urls.api_database),
                "ATELIER_REDIS_URL": redis_url._replace(
                    netloc=redis_url.netloc.replace(str(redis_url.port), str(redis.port))
                ).geturl(),
                "ATELIER_STORAGE_URL": f"s3://{BUCKET}",
                "ATELIER_S3_ENDPOINT": f"http://127.0.0.1:{storage.port}",
                "ATELIER_S3_ACCESS_KEY": s3.access_key,
                "ATELIER_S3_SECRET_KEY": s3.secret_key,
                "ATELIER_SECRET_KEY": "test-secret-" + "0" * 32,
                "ATELIER_FAMILIES": "tests.families.stand_in",
            }
        )
        forget_settings()
        upgrade()
        found.bucket().create()
        yield found
        found.heal()
        forget_settings()


def freeze(program: Group) -> None:
    program.signal(signal.SIGSTOP)


def thaw(program: Group) -> None:
    program.signal(signal.SIGCONT)

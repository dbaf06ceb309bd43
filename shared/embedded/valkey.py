"""The embedded Valkey: its configuration and its command. It carries hints; no work lives in it."""

import os
from functools import partial

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.embedded.accounts import Account, give
from shared.embedded.find import Binaries
from shared.embedded.home import Home, secret, speaking_errors
from shared.embedded.process import Program

NAME = "valkey"


def program(home: Home, binaries: Binaries, account: Account | None, port: int) -> Program:
    """How to run Valkey on `home.valkey`, in the foreground, on loopback.

    Raises HomeUnusable or DiskFull.
    """
    configuration = home.run / "valkey.conf"
    with speaking_errors(home.valkey):
        home.valkey.mkdir(mode=0o700, exist_ok=True)
        give(home.valkey, account)
        # A file and not arguments: those can be read by every user of the machine.
        with open(configuration, "w", opener=partial(os.open, mode=0o600)) as file:
            file.write(_configuration(home, port))
        give(configuration, account)

    return Program(
        name=NAME,
        argv=[str(binaries / binaries.programs[0]), str(configuration)],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        grace_s=20.0,
        ready=partial(answers, url(home, port)),
        log=home.log / "valkey.log",
        account=account,
    )


def _configuration(home: Home, port: int) -> str:
    folder = str(home.valkey.resolve()).replace("\\", "\\\\").replace('"', '\\"')
    return f"""\
bind 127.0.0.1
port {port}
requirepass {secret(home.path, "redis_password")}
dir "{folder}"
appendonly yes
appendfsync everysec
# A kill in the middle of a write leaves half a command at the end; the rest is good.
aof-load-truncated yes
save ""
# A full memory must refuse new hints, not drop old ones silently.
maxmemory-policy noeviction
"""


def url(home: Home, port: int) -> str:
    return f"redis://:{secret(home.path, 'redis_password')}@127.0.0.1:{port}/0"


def answers(address: str) -> bool:
    # Whoever asks asks again; the client's own retries would only block him.
    once = Retry(NoBackoff(), 0)
    with redis.Redis.from_url(address, socket_timeout=2, retry=once) as client:
        try:
            client.ping()
        except (redis.ConnectionError, redis.TimeoutError):  # not there, or still loading
            return False
    return True

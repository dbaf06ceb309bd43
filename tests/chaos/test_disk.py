"""A full disk: a worker's items wait, at no cost, and the API refuses what it cannot keep."""

from io import BytesIO
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from shared.db import transaction
from shared.queues import hint
from shared.services import datasets, files, workers
from shared.states import Lane
from shared.storage import FolderStorage
from shared.tables.tenant import Tenant
from tests.chaos.disk import small_disk
from tests.chaos.processes import API, WORKER, free_port, running, sweeper
from tests.chaos.soundness import all_faults, changes, watching
from tests.ledger import look, submit
from tests.waiting import until


def is_up() -> bool:
    with transaction() as session:
        return bool(workers.alive(session))


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
    with (
        small_disk(tmp_path / "disk", "1m") as disk,
        running(*WORKER, "text", within=disk.within, ATELIER_STORAGE_URL=disk.url),
        sweeper(),
        watching(),
    ):
        until(is_up)
        with disk.full():
            job = submit(tenant.id, [{}] * 16)
            hint(Lane.TEXT)
            until(lambda: released() == 16)
            assert look(job).done == 0
            assert count("outputs") == 0

        until(lambda: look(job).state == "succeeded")
        assert all_faults(FolderStorage(disk.seen)) == {}
        assert changes() == {}
        assert not list(disk.seen.rglob(".put-*")), "what was half written is gone"

    assert count("items WHERE attempt = 1") == 16
    assert count("failures") == 0


def test_a_data_set_waits_while_there_is_no_room_to_prepare_it(
    tenant: Tenant, tmp_path: Path
) -> None:
    place = tmp_path / "disk"
    rows = BytesIO(b"".join(b'{"text": "row %d"}\n' % number for number in range(10_000)))
    file = files.store(tenant.id, "fine-tune", "rows.jsonl", rows)
    with (
        small_disk(place, "8m") as disk,
        running(*WORKER, "light", within=disk.within, TMPDIR=str(place)),
        sweeper(),
        watching(),
    ):
        until(is_up)
        with disk.full():
            with transaction() as session:
                session.add(file)
                session.flush()
                datasets.create(session, tenant.id, "rows", "text", [file.id], {})
            hint(Lane.LIGHT)
            until(lambda: released() == 1)

        until(lambda: count("datasets WHERE state = 'ready'") == 1)
        assert changes() == {}

    assert count("items WHERE attempt = 1") == 1
    assert count("failures") == 0


@pytest.mark.parametrize("setting", ["ATELIER_STORAGE_URL", "TMPDIR"])
def test_an_upload_for_which_there_is_no_room_is_refused_and_taken_when_there_is(
    api_key: str, tmp_path: Path, setting: str
) -> None:
    place = tmp_path / "disk"
    value = f"file:{place}" if setting == "ATELIER_STORAGE_URL" else str(place)
    bind = f"127.0.0.1:{free_port()}"
    with (
        small_disk(place, "8m") as disk,
        running(*API, "--bind", bind, within=disk.within, **{setting: value}),
        httpx.Client(
            base_url=f"http://{bind}", headers={"Authorization": f"Bearer {api_key}"}
        ) as client,
    ):
        until(lambda: answers(client))
        with disk.full():
            refused = upload(client)
            assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
            assert count("files") == 0

        assert not [path for path in disk.seen.rglob("*") if path.is_file()], (
            "nothing is half there"
        )
        assert upload(client).status_code == 200
        assert count("files") == 1


def upload(client: httpx.Client) -> httpx.Response:
    """A file that is too large to be held in memory while it comes."""
    file = {"file": ("lines.jsonl", bytes(1 << 20))}
    return client.post("/v1/files", files=file, data={"purpose": "batch"})


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/api/v1/health/ready").status_code == 200
    except httpx.TransportError:
        return False

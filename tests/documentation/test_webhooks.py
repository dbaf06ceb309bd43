"""The examples of docs/webhooks.md run as they are written: who registers a webhook, and the
program that is called.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask

from shared.tables.tenant import Tenant
from tests.documentation.pages import examples
from tests.documentation.reader import Reader, reading_in
from tests.ledger import finish, submit, take
from tests.receiver import HERE
from tests.settings import forget_settings
from tests.threads import served
from worker.deliveries import Sender

PAGE = "docs/webhooks.md"


@pytest.fixture
def reader(
    app: Flask, stand_in: str, api_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Reader]:
    """One with a key, at an installation that may call receivers of this machine."""
    monkeypatch.setenv("ATELIER_EGRESS_ALLOW", HERE)
    monkeypatch.setenv("ATELIER_API_KEY", api_key)
    forget_settings()
    with served(app) as address, reading_in(tmp_path, address) as made:
        yield made


def test_the_receiver_believes_what_the_secret_signed_and_nothing_else(
    reader: Reader,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (register,), (program,) = examples(PAGE, "sh"), examples(PAGE, "python")
    names: dict[str, Any] = {"__name__": "receiver"}
    with served(lambda *request: names["app"](*request)) as address:
        made = reader.type(register.replace("https://hooks.example.com", address))
        monkeypatch.setenv("ATELIER_WEBHOOK_SECRET", json.loads(made)["secret"])
        exec(compile(program, PAGE, "exec"), names)

        job = submit(tenant.id, [{}])
        finish(take())
        for sent in Sender().send_due():
            sent.result()
        forged = httpx.post(f"{address}/atelier", json={"type": "job.completed"})

    names["client"].close()
    assert capsys.readouterr().out.splitlines() == [f"job.completed {job.id}"]
    assert forged.status_code == 500

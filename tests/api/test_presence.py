"""A client that leaves while its call waits: the call is cancelled at once, on the real server."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import select

from shared import catalog
from shared.db import reading, transaction
from shared.services import models
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from tests.gunicorn import gunicorn
from tests.waiting import until

CONFIG = {"max_position_embeddings": 512}


@pytest.fixture
def port(tenant: Tenant) -> Iterator[int]:
    """Where gunicorn serves an API, with a model `writer` that nobody runs."""
    with transaction() as session:
        version = models.NewVersion("none", {}, CONFIG, {})
        models.register(session, tenant.id, "writer", catalog.family("causal_lm"), version)
    with gunicorn(ATELIER_WAIT_SECONDS="120") as served:
        yield served.port


@contextmanager
def calling(port: int, key: str, stream: bool = False, prefer: str = "") -> Iterator[None]:
    """A client that waits for an answer as long as the block lasts."""
    body = json.dumps({"model": "writer", "prompt": "Once", "stream": stream}).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nPrefer: {prefer}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(head.encode() + body)
        yield


def states() -> list[str]:
    """Of all jobs, the first one first."""
    with reading() as session:
        return list(session.scalars(select(Job.state).order_by(Job.created_at)))


@pytest.mark.parametrize("stream", [False, True])
def test_the_call_of_one_that_leaves_is_cancelled_and_no_other(
    port: int, api_key: str, stream: bool
) -> None:
    with calling(port, api_key):
        until(lambda: states() == ["queued"])
        with calling(port, api_key, stream=stream):
            until(lambda: states() == ["queued", "queued"])

        until(lambda: states() == ["queued", "cancelled"], within_s=5)


def test_a_job_that_is_to_go_on_anyhow_goes_on(port: int, api_key: str) -> None:
    with calling(port, api_key, prefer="respond-async"):
        until(lambda: states() == ["queued"])
    with calling(port, api_key):
        until(lambda: states() == ["queued", "queued"])

    until(lambda: states() == ["queued", "cancelled"], within_s=5)

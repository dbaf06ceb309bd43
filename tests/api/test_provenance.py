"""Provenance: a file is recognised as an output by its bytes, by its own tenant alone."""

import hashlib
from io import BytesIO
from typing import Any

import pytest
from sqlalchemy import text

from shared import wall
from shared.db import reading, transaction
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, ok, refused
from tests.settings import forget_settings

VERIFY = "/api/v1/provenance/verify"

pytestmark = pytest.mark.usefixtures("stand_in")


def verify(api: Api, content: bytes, name: str = "found.bin") -> dict[str, Any]:
    return ok(api.request("POST", VERIFY, data={"file": (BytesIO(content), name)}))


def made(api: Api, seed: int) -> tuple[dict[str, Any], bytes]:
    """An output and its bytes."""
    job = api.run({"seed": seed})
    (output,) = ok(api.get(f"{JOBS}/{job['id']}/outputs"))["data"]
    return output, api.get(f"/api/v1/outputs/{output['id']}/content").data


def test_an_output_is_recognised_by_its_bytes_whatever_its_name(api: Api) -> None:
    output, content = made(api, 5)
    made(api, 6)

    found = verify(api, content, "holiday.jpg")

    assert found == {
        "object": "provenance.verification",
        "sha256": output["sha256"],
        "match": "exact",
        "output": output,
    }
    assert {"model", "weights_hash"} <= set(found["output"]["provenance"])


def test_of_outputs_with_the_same_bytes_the_first_is_told(api: Api) -> None:
    first, content = made(api, 5)
    second, same = made(api, 5)
    assert (content, first["id"] < second["id"]) == (same, True)

    assert verify(api, content)["output"]["id"] == first["id"]


@pytest.mark.parametrize("content", [b"seed 5\n", b"", b"x" * 400_000])
def test_other_bytes_are_not_recognised(api: Api, content: bytes) -> None:
    made(api, 5)

    found = verify(api, content)

    assert (found["match"], found["output"]) == (None, None)
    assert found["sha256"] == hashlib.sha256(content).hexdigest()


def test_another_tenants_output_is_not_recognised(api: Api, stranger: Api) -> None:
    _, content = made(api, 5)

    found = verify(stranger, content)

    assert (found["match"], found["output"]) == (None, None)


def test_a_deleted_outputs_bytes_are_not_recognised(api: Api) -> None:
    output, content = made(api, 5)
    with transaction() as session:
        session.execute(text("DELETE FROM outputs WHERE id = :id"), {"id": output["id"]})

    assert verify(api, content)["match"] is None


def test_a_file_may_be_as_large_as_an_upload_and_no_larger(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_BODY_LIMIT", "1000")
    monkeypatch.setenv("ATELIER_FILE_LIMIT", "200000")
    forget_settings()

    verify(api, b"x" * 200_000)
    for surplus in (1, 100_000):
        form = {"file": (BytesIO(b"x" * (200_000 + surplus)), "a")}
        error = refused(api.request("POST", VERIFY, data=form), 413)
        assert error["code"] == "too_large"


def test_a_field_that_is_no_file_is_refused(api: Api) -> None:
    error = refused(api.request("POST", VERIFY, data={"file": "text"}), 400)

    assert error["param"] == "file"


def test_the_look_for_bytes_is_one_look_at_an_index(api: Api, tenant: Tenant) -> None:
    sought = (
        "SELECT * FROM outputs WHERE tenant_id = :tenant AND sha256 = :hash ORDER BY id LIMIT 1"
    )
    names = {"tenant": tenant.id, "hash": "0" * 64}

    with wall.asking_for(tenant.id), reading() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(session.scalars(text(f"EXPLAIN {sought}"), names))

    assert "Index Scan using outputs_by_hash" in plan
    assert "Sort" not in plan

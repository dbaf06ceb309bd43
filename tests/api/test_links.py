"""Links: outputs are fetched without a key by whoever was given their address, for a time."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from api import links
from shared.links import Links
from shared.settings import settings
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, new_tenant, ok, refused
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.fixture
def outputs(api: Api) -> list[dict[str, Any]]:
    """Two outputs of the tenant."""
    job = api.run({"seed": 5, "n": 2})
    return ok(api.get(f"{JOBS}/{job['id']}/outputs", order="asc"))["data"]


@pytest.fixture
def issued(app: Flask, tenant: Tenant) -> Links:
    """What makes links to the tenant's outputs."""
    return links.issue("", tenant.id)


def test_a_link_leads_to_its_output_without_a_key(
    anonymous: Api, issued: Links, outputs: list[dict[str, Any]]
) -> None:
    answer = anonymous.get(issued.to(outputs[1]["id"]))

    assert (answer.status_code, answer.get_data(as_text=True)) == (200, "seed 6")
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_until_it_expires(anonymous: Api, tenant: Tenant, outputs: list[dict[str, Any]]) -> None:
    link = links.issue("", tenant.id, timedelta(seconds=1)).to(outputs[0]["id"])
    assert anonymous.get(link).status_code == 200

    error = refused(until(lambda: _unless_good(anonymous, link)), 404)

    assert "has expired" in error["message"]


def _unless_good(anonymous: Api, link: str) -> Any:
    answer = anonymous.get(link)
    return answer if answer.status_code != 200 else None


def test_it_leads_to_no_other_output(
    anonymous: Api, issued: Links, outputs: list[dict[str, Any]]
) -> None:
    first, second = (output["id"] for output in outputs)

    assert refused(anonymous.get(issued.to(first).replace(first, second)), 404)


def test_who_changes_it_is_refused(
    anonymous: Api, tenant: Tenant, issued: Links, outputs: list[dict[str, Any]]
) -> None:
    good = issued.to(outputs[0]["id"])
    changed = [
        replace(issued, expires_at=issued.expires_at + 1).to(outputs[0]["id"]),
        replace(issued, tenant_id=new_tenant()[0]).to(outputs[0]["id"]),
        replace(issued, key="0" * 64).to(outputs[0]["id"]),
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        good + "0",
        good.replace(".", ""),
        good.replace(str(issued.expires_at), "never"),
        good.rsplit("/", 1)[0] + "/..",
        good.rsplit("/", 1)[0] + "/ü.1.2",
    ]

    assert [anonymous.get(link).status_code for link in changed] == [404] * len(changed)


def test_whoever_may_sign_for_one_tenant_signs_for_no_other(
    anonymous: Api, app: Flask, outputs: list[dict[str, Any]]
) -> None:
    strangers = links.issue("", new_tenant()[0])

    assert refused(anonymous.get(strangers.to(outputs[0]["id"])), 404)


def test_a_link_ends_with_the_secret_that_signed_it(
    anonymous: Api,
    issued: Links,
    outputs: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ATELIER_SECRET_KEY", "another secret of the installation")
    settings.cache_clear()

    assert refused(anonymous.get(issued.to(outputs[0]["id"])), 404)


def test_what_signs_a_batchs_links_is_shown_to_nobody(api: Api) -> None:
    line = b'{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {}}\n'
    file_id = ok(api.upload(line))["id"]
    asked = {"input_file_id": file_id, "endpoint": "/v1/completions", "completion_window": "24h"}
    batch = ok(api.post("/v1/batches", asked))

    shown = ok(api.get(f"{JOBS}/{batch['id']}"))

    assert shown["params"] == {"completion_window": "24h"}

"""Deleting trained models, and the names under which models are looked at, in OpenAI's shape."""

from pathlib import Path

import pytest

from shared import catalog
from shared.db import transaction
from shared.services import models
from shared.storage import put_files, storage
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, ok, refused, run_queued
from tests.ledger import assert_sound

TUNED = "ft:stand_in:shop:0123abcd"

pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.fixture
def trained(tenant: Tenant, tmp_path: Path) -> str:
    """The name of a model of two versions that were trained here, each with a file."""
    for number in (1, 2):
        path = tmp_path / "model.safetensors"
        path.write_bytes(bytes(number))
        prefix = f"{tenant.id}/models/job_{number}/lease"
        with transaction() as session:
            new = models.NewVersion(prefix, put_files([path], prefix), {"longest": 60}, {})
            family = catalog.family("stand_in")
            models.register(session, tenant.id, TUNED, family, new, f"job_{number}")
    return TUNED


def stored() -> list[str]:
    return [one.key.split("/")[2] for one in storage().list("")]


@pytest.mark.parametrize("asked", [TUNED, f"{TUNED}@1", f"{TUNED}@2", "stand-in@1"])
def test_a_model_is_found_by_its_name_and_by_its_version(
    api: Api, trained: str, asked: str
) -> None:
    model = ok(api.get(f"/v1/models/{asked}"))

    assert (model["id"], model["object"]) == (asked, "model")


@pytest.mark.parametrize(
    "asked", ["stand-in@2", "stand-in@x", "stand-in@", "org/model", "org%2Fmodel", "a:b", "@"]
)
def test_a_name_of_no_model_has_the_code_that_openais_clients_know(api: Api, asked: str) -> None:
    assert refused(api.get(f"/v1/models/{asked}"), 404)["code"] == "model_not_found"
    assert refused(api.delete(f"/v1/models/{asked}"), 404)["code"] == "model_not_found"


def test_a_deleted_model_is_gone_with_all_its_versions_and_files(api: Api, trained: str) -> None:
    answer = ok(api.delete(f"/v1/models/{trained}"))

    assert answer == {"id": trained, "object": "model", "deleted": True}
    refused(api.get(f"/v1/models/{trained}"), 404)
    assert stored() == []


def test_of_a_deleted_version_the_newest_that_is_left_answers(api: Api, trained: str) -> None:
    ok(api.delete(f"/v1/models/{trained}@2"))

    model = ok(api.get(f"/api/v1/models/{trained}"))
    assert (model["promoted_version"], len(model["versions"])) == (1, 1)
    assert stored() == ["job_1"]

    ok(api.delete(f"/v1/models/{trained}@1"))
    refused(api.get(f"/api/v1/models/{trained}"), 404)


def test_a_deleted_versions_number_is_given_to_no_other(
    api: Api, tenant: Tenant, trained: str
) -> None:
    ok(api.delete(f"/v1/models/{trained}@2"))
    with transaction() as session:
        new = models.NewVersion("none", {}, {"longest": 60}, {})
        models.register(session, tenant.id, trained, catalog.family("stand_in"), new, "job_3")

    assert ok(api.get(f"/api/v1/models/{trained}"))["promoted_version"] == 3
    refused(api.get(f"/v1/models/{trained}@2"), 404)


def test_an_older_version_goes_and_the_promoted_one_goes_on_answering(
    api: Api, trained: str
) -> None:
    ok(api.delete(f"/v1/models/{trained}@1"))

    assert ok(api.get(f"/api/v1/models/{trained}"))["promoted_version"] == 2


def test_a_model_that_an_open_job_needs_stays_and_the_job_is_named(api: Api, trained: str) -> None:
    job = api.submit({}, model=f"{trained}@1")

    error = refused(response := api.delete(f"/v1/models/{trained}"), 409)
    assert job["id"] in error["message"]
    assert response.headers["x-should-retry"] == "false"
    ok(api.delete(f"/v1/models/{trained}@2"))

    ok(api.post(f"{JOBS}/{job['id']}/cancel"))
    ok(api.delete(f"/v1/models/{trained}"))


def test_an_imported_model_stays(api: Api) -> None:
    assert "imported" in refused(api.delete("/v1/models/stand-in"), 409)["message"]


def test_another_tenant_deletes_nothing(api: Api, stranger: Api, trained: str) -> None:
    refused(stranger.delete(f"/v1/models/{trained}"), 404)

    assert len(stored()) == 2


def test_a_job_of_a_model_that_was_deleted_fails_and_says_so(
    api: Api, tenant: Tenant, trained: str
) -> None:
    """As when the model goes while the job is being accepted, which nothing locks out."""
    job = api.submit({}, model=f"{trained}@1")
    with transaction() as session:
        session.delete(models.resolve(session, tenant.id, f"{trained}@1")[1])

    run_queued()

    ended = ok(api.get(f"{JOBS}/{job['id']}"))
    assert (ended["state"], ended["error"]["code"]) == ("failed", "model_not_found")
    assert_sound()

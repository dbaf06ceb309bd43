"""Models: names with their versions, which of them answers, and the same in OpenAI's shape."""

from itertools import chain

import pytest

from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, ok, refused, walk
from tests.ledger import add_stand_in

MODELS = "/api/v1/models"

pytestmark = pytest.mark.usefixtures("stand_in")


def test_a_model_is_shown_with_its_versions_newest_first(api: Api, tenant: Tenant) -> None:
    add_stand_in(tenant.id)

    model = ok(api.get(f"{MODELS}/stand-in"))

    assert (model["name"], model["family"], model["modality"]) == ("stand-in", "stand_in", "text")
    assert model["promoted_version"] == 2
    assert [version["version"] for version in model["versions"]] == [2, 1]
    assert len(model["versions"][0]["weights_hash"]) == 64


def test_the_promoted_version_answers_to_the_name(api: Api, tenant: Tenant) -> None:
    add_stand_in(tenant.id)

    promoted = ok(api.post(f"{MODELS}/stand-in/promote", {"version": 1}))
    job = api.run({})

    assert promoted["promoted_version"] == 1
    (output,) = ok(api.get(f"{JOBS}/{job['id']}/outputs"))["data"]
    assert output["model"] == "stand-in@1"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"version": 9}, 404, "version"),
        ({"version": 0}, 400, "version"),
        ({"version": "new"}, 400, "version"),
        ({}, 400, "version"),
        ({"version": 1, "force": True}, 400, "force"),
        ({"version": 10**10}, 400, "version"),
    ],
)
def test_a_version_that_is_not_there_cannot_be_promoted(
    api: Api, body: dict, status: int, param: str
) -> None:
    error = refused(api.post(f"{MODELS}/stand-in/promote", body), status)

    assert error["param"] == param
    assert ok(api.get(f"{MODELS}/stand-in"))["promoted_version"] == 1


def test_pages_give_every_model_once(api: Api, tenant: Tenant) -> None:
    for number in range(44):
        add_stand_in(tenant.id, f"model-{number}")

    pages = list(walk(lambda **query: api.get(MODELS, **query), limit=20))

    ids = list(chain(*pages))
    assert len(ids) == len(set(ids)) == 45


def test_openais_list_names_what_the_field_model_takes(api: Api, stranger: Api) -> None:
    listed = ok(api.get("/v1/models"))

    (model,) = listed["data"]
    assert (listed["object"], model["object"], model["id"]) == ("list", "model", "stand-in")
    assert ok(api.get("/v1/models/stand-in")) == model
    assert ok(stranger.get("/v1/models"))["data"] == []


def test_an_unknown_model_has_the_code_that_openais_clients_know(api: Api) -> None:
    assert refused(api.get("/v1/models/none"), 404)["code"] == "model_not_found"
    assert refused(api.get(f"{MODELS}/none"), 404)["code"] == "model_not_found"


def test_families_publish_the_schemas_of_their_parameters(api: Api) -> None:
    listed = {family["id"]: family for family in ok(api.get("/api/v1/families"))["data"]}

    assert {"causal_lm", "conditional_gan", "stand_in"} <= set(listed)
    assert listed["causal_lm"]["generation"]["properties"]["max_tokens"]["maximum"] == 4096
    assert "max_steps" in listed["conditional_gan"]["training"]["properties"]
    assert listed["stand_in"]["training"] is None
    assert ok(api.get("/api/v1/families/causal_lm")) == listed["causal_lm"]
    refused(api.get("/api/v1/families/none"), 404)

"""Deleting trained models, and the names under which models are looked at, in OpenAI's shape."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from shared import catalog
from shared.db import transaction
from shared.errors import Conflict
from shared.services import model_deletion, models, submissions
from shared.services.items import Wanted
from shared.storage import put_files, storage
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, ok, refused, run_queued
from tests.ledger import add_dataset, assert_sound, somebody_waits_for_a_lock
from tests.waiting import until

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


def test_nor_is_that_of_the_last_one_and_the_name_may_be_another_familys(
    api: Api, tenant: Tenant, trained: str
) -> None:
    ok(api.delete(f"/v1/models/{trained}"))
    assert [model["name"] for model in ok(api.get("/api/v1/models"))["data"]] == ["stand-in"]
    assert [model["id"] for model in ok(api.get("/v1/models"))["data"]] == ["stand-in"]
    refused(api.get(f"/api/v1/models/{trained}"), 404)
    refused(api.delete(f"/v1/models/{trained}"), 404)
    body = {"kind": "generation", "model": trained, "items": [{"params": {}}]}
    assert "no model" in refused(api.post(JOBS, body), 404)["message"]

    with transaction() as session:
        new = models.NewVersion("none", {}, {}, {})
        models.register(session, tenant.id, trained, catalog.family("causal_lm"), new, "job_3")

    model = ok(api.get(f"/api/v1/models/{trained}"))
    assert (model["promoted_version"], model["family"]) == (3, "causal_lm")
    assert [version["version"] for version in model["versions"]] == [3]
    refused(api.get(f"/v1/models/{trained}@1"), 404)


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


def test_a_job_that_is_retried_after_its_model_was_deleted_fails_and_says_so(
    api: Api, trained: str
) -> None:
    job = api.submit({}, model=f"{trained}@1")
    ok(api.post(f"{JOBS}/{job['id']}/cancel"))
    ok(api.delete(f"/v1/models/{trained}"))
    ok(api.post(f"{JOBS}/{job['id']}/retry"))

    run_queued()

    ended = ok(api.get(f"{JOBS}/{job['id']}"))
    assert (ended["state"], ended["error"]["code"]) == ("failed", "model_not_found")
    assert_sound()


class TestAtOnce:
    """A model is deleted while a job for it is being accepted: one of the two is refused."""

    @pytest.fixture
    def writer(self, tenant: Tenant) -> str:
        """A text model that was trained here."""
        with transaction() as session:
            new = models.NewVersion("none", {}, {"max_position_embeddings": 512}, {})
            family = catalog.family("causal_lm")
            models.register(session, tenant.id, "writer", family, new, "job_1")
        return "writer"

    @pytest.fixture(params=["items", "a file", "an evaluation", "a training"])
    def accept(
        self, request: pytest.FixtureRequest, api: Api, tenant: Tenant, writer: str
    ) -> Callable[[Session], Job]:
        """Accepts a job for the model, of each kind that needs one."""
        add_dataset(tenant.id, "rows")
        file = ok(api.upload(b'{"params": {}}'))["id"]
        mine = submissions.Common(tenant.id)
        accepted: dict[str, Callable[[Session], Job]] = {
            "items": lambda session: submissions.create_generation(
                session, mine, writer, [Wanted({"prompt": "Once"})]
            ),
            "a file": lambda session: submissions.create_generation_from_file(
                session, mine, writer, file
            ),
            "an evaluation": lambda session: submissions.create_evaluation(
                session, mine, writer, "rows"
            ),
            "a training": lambda session: submissions.create_training(
                session, mine, submissions.NewTraining(None, "rows", "new", {}, writer)
            ),
        }
        return accepted[request.param]

    def test_while_a_job_is_accepted_a_deletion_waits_for_it_and_is_refused(
        self, tenant: Tenant, writer: str, accept: Callable[[Session], Job]
    ) -> None:
        with ThreadPoolExecutor(1) as pool:
            with transaction() as session:
                job = accept(session)
                deletion = pool.submit(delete, tenant, writer)
                until(somebody_waits_for_a_lock)

            with pytest.raises(Conflict, match=job.id):
                deletion.result(10)

    def test_while_a_model_is_deleted_acceptance_waits_and_is_refused(
        self, tenant: Tenant, writer: str, accept: Callable[[Session], Job]
    ) -> None:
        def submit() -> Job:
            with transaction() as session:
                return accept(session)

        with ThreadPoolExecutor(1) as pool:
            with transaction() as session:
                model_deletion.delete(session, tenant.id, writer)
                submission = pool.submit(submit)
                until(somebody_waits_for_a_lock)

            with pytest.raises(models.ModelNotFound):
                submission.result(10)

    def test_a_call_that_waits_for_its_answer_is_refused_too(
        self, api: Api, tenant: Tenant, writer: str
    ) -> None:
        with ThreadPoolExecutor(1) as pool:
            with transaction() as session:
                model_deletion.delete(session, tenant.id, writer)
                body = {"model": writer, "prompt": "Once"}
                call = pool.submit(api.post, "/v1/completions", body)
                until(somebody_waits_for_a_lock)

            assert refused(call.result(10), 404)["code"] == "model_not_found"

    def test_where_an_older_version_answers_from_then_on_the_job_is_for_that(
        self, tenant: Tenant, writer: str
    ) -> None:
        with transaction() as session:
            new = models.NewVersion("none", {}, {"max_position_embeddings": 512}, {})
            family = catalog.family("causal_lm")
            models.register(session, tenant.id, writer, family, new, "job_2")

        def resolve() -> int:
            with transaction() as session:
                return models.resolve(session, tenant.id, writer, hold=True)[1].version

        with ThreadPoolExecutor(1) as pool:
            with transaction() as session:
                model_deletion.delete(session, tenant.id, f"{writer}@2")
                resolution = pool.submit(resolve)
                until(somebody_waits_for_a_lock)

            assert resolution.result(10) == 1

    def test_a_batch_whose_model_goes_while_its_lines_are_read_is_refused(
        self, api: Api, tenant: Tenant, writer: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        body = {"model": writer, "prompt": "Once"}
        line = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": body}
        file = ok(api.upload(json.dumps(line).encode()))["id"]
        asked = {"endpoint": "/v1/completions", "completion_window": "24h"}
        batch = ok(api.post("/v1/batches", {"input_file_id": file, **asked}))
        monkeypatch.setattr("worker.batches.check_room", lambda *_: delete(tenant, writer))

        run_queued()

        ended = ok(api.get(f"/v1/batches/{batch['id']}"))
        assert ended["status"] == "failed"
        assert "was deleted" in ended["errors"]["data"][0]["message"]
        assert_sound()


def delete(tenant: Tenant, reference: str) -> None:
    with transaction() as session:
        model_deletion.delete(session, tenant.id, reference)

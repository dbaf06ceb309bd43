"""Filters of lists: each leaves what it says, together they narrow, unknown ones are refused."""

from collections.abc import Iterator
from typing import Any

import pytest

from shared.db import transaction
from shared.services import events
from tests.api.client import JOBS, Api, ok, refused, run_queued, walk
from tests.ledger import execute

OUTPUTS = "/api/v1/outputs"
FAULT = {"fault": "refuse"}

pytestmark = pytest.mark.usefixtures("stand_in")


def ids(api: Api, path: str, **query: Any) -> set[str]:
    """The ids of a whole list, read in pages of two."""

    def fetch(**page: Any) -> Any:
        return api.get(path, limit=2, **query, **page)

    pages: Iterator[list[str]] = walk(fetch)
    return {id_ for page in pages for id_ in page}


class TestJobs:
    def test_by_state(self, api: Api) -> None:
        done, failed = api.run({})["id"], api.run(FAULT)["id"]
        waiting = api.submit({})["id"]

        assert ids(api, JOBS, state="succeeded") == {done}
        assert ids(api, JOBS, state="failed") == {failed}
        assert ids(api, JOBS, state="queued") == {waiting}
        assert ids(api, JOBS, state="paused") == set()

    def test_by_kind_and_model(self, api: Api) -> None:
        plain = api.submit({})["id"]
        version = api.submit({}, model="stand-in@1")["id"]

        assert ids(api, JOBS, kind="generation") == {plain, version}
        assert ids(api, JOBS, kind="training") == set()
        assert ids(api, JOBS, model="stand-in") == {plain}
        assert ids(api, JOBS, model="stand-in@1") == {version}

    def test_by_the_time_of_their_making(self, api: Api) -> None:
        old, new = (api.submit({})["id"] for _ in range(2))
        execute(
            f"UPDATE jobs SET created_at = created_at - interval '30 minutes' WHERE id = '{old}'"
        )
        moment = ok(api.get(f"{JOBS}/{new}"))["created_at"]

        assert ids(api, JOBS, created_before=moment) == {old}
        assert ids(api, JOBS, created_after=moment) == {new}
        assert ids(api, JOBS, created_after=moment - 3600, created_before=moment + 1) == {old, new}
        assert ids(api, JOBS, created_after=moment + 7200) == set()
        assert ids(api, JOBS, created_after=0, created_before=253_402_300_799) == {old, new}

    def test_by_metadata(self, api: Api) -> None:
        acme = api.submit({}, metadata={"customer": "acme", "a=b": "c"})["id"]
        other = api.submit({}, metadata={"customer": "other"})["id"]
        api.submit({})

        assert ids(api, JOBS, metadata="customer") == {acme, other}
        assert ids(api, JOBS, metadata="customer=acme") == {acme}
        assert ids(api, JOBS, metadata="customer=") == set()
        assert ids(api, JOBS, metadata="order=acme") == set()

    def test_by_data_set(self, api: Api) -> None:
        file_id = ok(api.upload(b"text\na\n", "rows.csv", "fine-tune"))["id"]
        body = {"name": "rows", "modality": "text", "files": [file_id]}
        dataset = ok(api.post("/api/v1/datasets", body), 202)
        api.submit({})

        assert ids(api, JOBS, dataset=dataset["id"]) == {dataset["job"]}
        assert ids(api, JOBS, dataset=dataset["id"], kind="training") == set()
        assert ids(api, JOBS, dataset=f"dataset_{'0' * 26}") == set()

    def test_together_they_narrow(self, api: Api) -> None:
        wanted = api.run({}, metadata={"customer": "acme"})["id"]
        api.run(FAULT, metadata={"customer": "acme"})
        api.run({}, metadata={"customer": "other"})

        assert ids(api, JOBS, metadata="customer=acme", state="succeeded") == {wanted}


def test_items_by_state(api: Api) -> None:
    job = api.run({}, FAULT, {})
    path = f"{JOBS}/{job['id']}/items"

    assert len(ids(api, path, state="done")) == 2
    assert len(ids(api, path, state="failed")) == 1
    assert ids(api, path, state="queued") == set()


class TestByCustomId:
    """What a client looks for most: what became of one request of its own."""

    @pytest.fixture
    def job(self, api: Api) -> dict[str, Any]:
        items = [{"custom_id": id_, "params": {"n": 2}} for id_ in ("order-1", "order-2")]
        body = {"kind": "generation", "model": "stand-in", "items": items}
        made = [ok(api.post(JOBS, body), 202) for _ in range(2)]
        run_queued()
        return made[0]

    def test_an_item_of_a_job(self, api: Api, job: dict[str, Any]) -> None:
        path = f"{JOBS}/{job['id']}/items"

        (found,) = ok(api.get(path, custom_id="order-2"))["data"]
        assert (found["job"], found["custom_id"]) == (job["id"], "order-2")
        assert ids(api, path, custom_id="order-2", state="done") == {found["id"]}
        assert ids(api, path, custom_id="order-2", state="failed") == set()
        assert ids(api, path, custom_id="order-3") == set()

    def test_the_outputs_of_an_item(self, api: Api, job: dict[str, Any]) -> None:
        path = f"{JOBS}/{job['id']}/outputs"
        (item,) = ok(api.get(f"{JOBS}/{job['id']}/items", custom_id="order-1"))["data"]

        found = ids(api, path, custom_id="order-1")
        assert len(found) == 2
        assert ids(api, path, item=item["id"]) == found
        assert ids(api, OUTPUTS, item=item["id"]) == found
        assert ids(api, path, custom_id="order-2", item=item["id"]) == set()
        assert ids(api, path, custom_id="order-3") == set()

    def test_another_tenants_item_has_no_outputs(
        self, api: Api, stranger: Api, job: dict[str, Any]
    ) -> None:
        (item,) = ok(api.get(f"{JOBS}/{job['id']}/items", custom_id="order-1"))["data"]

        assert ids(stranger, OUTPUTS, item=item["id"]) == set()


def test_events_by_type(api: Api) -> None:
    job = api.submit({})
    with transaction() as session:
        for type_ in ("metrics", "progress", "metrics"):
            events.add_event(session, job["id"], type_, "told")
    path = f"{JOBS}/{job['id']}/events"

    assert len(ids(api, path, type="metrics")) == 2
    assert ids(api, path, type="sheet") == set()


class TestOutputs:
    def outputs_of(self, api: Api, job: dict[str, Any]) -> set[str]:
        return ids(api, f"{JOBS}/{job['id']}/outputs")

    def test_by_model(self, api: Api) -> None:
        plain, version = api.run({}, {}), api.run({}, model="stand-in@1")
        both = self.outputs_of(api, plain) | self.outputs_of(api, version)

        assert ids(api, OUTPUTS, model="stand-in") == both
        assert ids(api, OUTPUTS, model="stand-in@1") == both
        for none in ("stand-in@2", "stand-in@x", "other", ""):
            assert ids(api, OUTPUTS, model=none) == set()

    def test_by_media_type(self, api: Api) -> None:
        first, second = api.run({}), api.run({})
        (picture,) = self.outputs_of(api, first)
        (text,) = self.outputs_of(api, second)
        execute(f"UPDATE outputs SET media_type = 'image/png' WHERE id = '{picture}'")
        of_second = f"{JOBS}/{second['id']}/outputs"

        assert ids(api, OUTPUTS, media_type="image/png") == {picture}
        assert ids(api, OUTPUTS, media_type="text/plain; charset=utf-8") == {text}
        assert ids(api, OUTPUTS, media_type="application/vnd.atelier.float32") == set()
        assert ids(api, of_second, media_type="text/plain; charset=utf-8") == {text}
        assert ids(api, of_second, media_type="image/png") == set()

    def test_by_label(self, api: Api) -> None:
        job, other = api.run({}, {}, {}, {}), api.run({})
        two, mixed, seven, again = sorted(self.outputs_of(api, job))
        (elsewhere,) = self.outputs_of(api, other)
        for output, label in ((two, '"2"'), (mixed, '{"7": 0.5}'), (seven, '"7"'), (again, '"7"')):
            execute(
                "UPDATE outputs SET facts = jsonb_build_object('label', cast("
                f"'{label}' AS jsonb)) WHERE id = '{output}'"
            )
        execute(f"""UPDATE outputs SET facts = '{{"label": "7"}}' WHERE id = '{elsewhere}'""")

        assert ids(api, OUTPUTS, label="7") == {seven, again, elsewhere}
        assert ids(api, OUTPUTS, label="2") == {two}
        assert ids(api, OUTPUTS, label="3") == set()
        assert ids(api, f"{JOBS}/{job['id']}/outputs", label="7") == {seven, again}
        assert ids(api, OUTPUTS, label="7", job=other["id"], state="released") == {elsewhere}
        assert ids(api, OUTPUTS, label="7", media_type="image/png") == set()

    def test_by_state_and_job(self, api: Api) -> None:
        first, second = api.run({}), api.run({}, {})
        (approved,) = self.outputs_of(api, first)
        execute(f"UPDATE outputs SET state = 'approved' WHERE id = '{approved}'")

        assert ids(api, OUTPUTS, state="approved") == {approved}
        assert ids(api, OUTPUTS, state="released", job=second["id"]) == self.outputs_of(api, second)
        assert ids(api, OUTPUTS, state="rejected") == set()

    def test_by_the_time_of_their_making(self, api: Api) -> None:
        (output,) = ok(api.get(f"{JOBS}/{api.run({})['id']}/outputs"))["data"]
        moment = output["created_at"]

        assert ids(api, OUTPUTS, created_after=moment) == {output["id"]}
        assert ids(api, OUTPUTS, created_before=moment) == set()


def test_models_by_family_and_modality(api: Api) -> None:
    path = "/api/v1/models"

    assert len(ids(api, path, family="stand_in", modality="text")) == 1
    assert ids(api, path, family="causal_lm") == set()
    assert ids(api, path, modality="image") == set()


def test_data_sets_by_name_and_state(api: Api) -> None:
    file_id = ok(api.upload(b"text\na\n", "rows.csv", "fine-tune"))["id"]
    body = {"name": "rows", "modality": "text", "files": [file_id]}
    made = ok(api.post("/api/v1/datasets", body), 202)["id"]
    path = "/api/v1/datasets"

    assert ids(api, path, name="rows", state="preparing", modality="text") == {made}
    assert ids(api, path, name="other") == set()
    assert ids(api, path, state="ready") == set()
    assert ids(api, path, modality="image") == set()


@pytest.mark.parametrize("noun", ["models", "datasets", "webhooks", "keys"])
def test_other_lists_by_the_time_of_making(api: Api, noun: str) -> None:
    file_id = ok(api.upload(b"text\na\n", "rows.csv", "fine-tune"))["id"]
    body = {"name": "rows", "modality": "text", "files": [file_id]}
    ok(api.post("/api/v1/datasets", body), 202)
    ok(api.post("/api/v1/webhooks", {"url": "https://hooks.example.com"}), 201)
    path = f"/api/v1/{noun}"
    (one,) = ok(api.get(path))["data"]

    assert ids(api, path, created_after=one["created_at"]) == {one["id"]}
    assert ids(api, path, created_before=one["created_at"]) == set()


def test_webhooks_by_what_they_are_told_of_and_whether_they_are_disabled(api: Api) -> None:
    path = "/api/v1/webhooks"

    def register(*events: str) -> str:
        body = {"url": "https://hooks.example.com", "events": events}
        return ok(api.post(path, body), 201)["id"]

    every, failures, none = register("*"), register("job.failed", "job.expired"), register()
    execute(f"UPDATE webhooks SET disabled_at = now() WHERE id = '{failures}'")

    assert ids(api, path, event="job.failed") == {every, failures}
    assert ids(api, path, event="job.completed") == {every}
    assert ids(api, path, disabled="true") == {failures}
    assert ids(api, path, disabled="false") == {every, none}
    assert ids(api, path, disabled="false", event="job.failed") == {every}


def test_keys_by_whether_they_are_good(api: Api) -> None:
    path = "/api/v1/keys"
    (own,) = ids(api, path)
    revoked, expired, good = (
        ok(api.post(path, {"name": "a", "scopes": ["read"]}), 201)["id"] for _ in range(3)
    )
    assert api.delete(f"{path}/{revoked}").status_code == 204
    execute(f"UPDATE keys SET expires_at = now() WHERE id = '{expired}'")

    assert ids(api, path, in_use="true") == {own, good}
    assert ids(api, path, in_use="false") == {revoked, expired}


def test_families_by_modality(api: Api) -> None:
    path = "/api/v1/families"

    assert ids(api, path, modality="text") == {"causal_lm", "stand_in"}
    assert ids(api, path, modality="audio") == set()


def test_failures_by_kind(api: Api) -> None:
    api.run(FAULT)

    assert len(ids(api, "/api/v1/failures", kind="error")) == 1
    assert ids(api, "/api/v1/failures", kind="crash") == set()


def test_failures_by_the_time_of_their_making(api: Api) -> None:
    path = "/api/v1/failures"
    old, new = (api.run(FAULT)["id"] for _ in range(2))
    moment = ok(api.get(path, job=new))["data"][0]["created_at"]
    for job, hours in ((old, 3), (new, 0)):
        execute(
            f"UPDATE failures SET created_at = created_at - interval '{hours} hours' "
            f"WHERE job_id = '{job}'"
        )

    def jobs_of(**query: int) -> set[str]:
        return {failure["job"] for failure in ok(api.get(path, **query))["data"]}

    assert jobs_of(created_after=moment) == {new}
    assert jobs_of(created_before=moment - 3600) == {old}
    assert jobs_of(created_after=moment - 4 * 3600, created_before=moment + 1) == {old, new}
    assert jobs_of(created_after=moment + 3600) == set()
    assert jobs_of(created_after=0, created_before=253_402_300_799) == {old, new}


LISTS = (
    JOBS,
    OUTPUTS,
    "/api/v1/models",
    "/api/v1/datasets",
    "/api/v1/failures",
    "/api/v1/failures/reasons",
    "/api/v1/families",
    "/api/v1/keys",
    "/api/v1/webhooks",
)


@pytest.mark.parametrize("path", LISTS)
def test_an_unknown_filter_is_refused_by_name(api: Api, path: str) -> None:
    error = refused(api.get(path, colour="red"), 400)

    assert (error["param"], error["code"]) == ("colour", "unknown_field")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (JOBS, {"created_after": "yesterday"}),
        (JOBS, {"created_before": -1}),
        (OUTPUTS, {"state": "lost"}),
        (OUTPUTS, {"media_type": "image/gif"}),
        (OUTPUTS, {"label": ""}),
        (OUTPUTS, {"label": "7" * 201}),
        (f"{JOBS}/job_none/outputs", {"media_type": "png"}),
        (f"{JOBS}/job_none/outputs", {"state": "released"}),
        ("/api/v1/failures", {"item": "7"}),
        ("/api/v1/failures", {"after": "7"}),
        ("/api/v1/models", {"modality": "smell"}),
        ("/api/v1/datasets", {"": "x"}),
    ],
)
def test_a_value_that_a_filter_does_not_take_is_refused_naming_it(
    api: Api, path: str, query: dict[str, Any]
) -> None:
    (name,) = query

    assert refused(api.get(path, **query), 400)["param"] == (name or None)

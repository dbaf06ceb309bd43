"""Fine-tuning jobs in OpenAI's shape: what is accepted, what is refused, what is told."""

from typing import Any

import pytest

from shared import catalog
from shared.db import transaction
from shared.services import models
from shared.states import Lane, Scope
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, new_key, ok, refused, walk
from tests.api.tunings import TUNINGS, tune, upload, upload_texts
from tests.ledger import assert_sound, execute
from tests.statements import caught
from worker.runner import drain


@pytest.fixture
def file(api: Api) -> str:
    """The id of a file of texts."""
    return upload_texts(api)


@pytest.fixture
def dataset(api: Api, file: str) -> str:
    """The name of a prepared data set."""
    ok(api.post("/api/v1/datasets", {"name": "ships", "modality": "text", "files": [file]}), 202)
    drain(Lane.LIGHT)
    return "ships"


def test_a_fine_tuning_job_is_the_native_training_job_in_another_shape(
    api: Api, dataset: str
) -> None:
    job = tune(api, dataset, suffix="shop", seed=7, metadata={"team": "a"})

    native = ok(api.get(f"{JOBS}/{job['id']}"))
    assert (native["kind"], native["state"], native["family"]) == (
        "training",
        "queued",
        "causal_lm",
    )
    assert native["model"].startswith("ft:causal_lm:shop:")
    assert (native["params"]["seed"], native["metadata"]) == (7, {"team": "a"})
    assert (job["object"], job["status"], job["model"]) == (
        "fine_tuning.job",
        "queued",
        "causal_lm",
    )
    assert (job["training_file"], job["fine_tuned_model"]) == ("ships@1", None)
    assert ok(api.get(f"{TUNINGS}/{job['id']}")) == job


def test_a_family_may_be_named_in_full(api: Api, dataset: str) -> None:
    job = tune(api, dataset, model="family:causal_lm")

    assert job["model"] == "causal_lm"
    assert ok(api.get(f"{JOBS}/{job['id']}"))["model"].startswith("ft:causal_lm::")


def test_no_other_training_makes_a_model_of_such_a_name(api: Api, dataset: str) -> None:
    body = {"kind": "training", "family": "causal_lm", "dataset": dataset}

    error = refused(api.post(JOBS, {**body, "model": "ft:causal_lm:shop:0123abcd"}), 400)

    assert error["param"] == "model"


def test_a_native_training_is_in_the_list_too(api: Api, dataset: str) -> None:
    body = {"kind": "training", "family": "causal_lm", "dataset": dataset, "model": "own"}
    native = ok(api.post(JOBS, body), 202)
    jobs = [native["id"], *(tune(api, dataset)["id"] for _ in range(4))]

    pages = list(walk(lambda **query: api.get(TUNINGS, **query), limit=2))

    assert [id_ for page in pages for id_ in page] == jobs[::-1]


def test_a_page_of_many_costs_as_many_statements_as_one_of_few(
    api: Api, dataset: str, tenant: Tenant
) -> None:
    with transaction() as session:
        new = models.NewVersion("none", {}, {}, {})
        models.register(session, tenant.id, "ships", catalog.family("causal_lm"), new)
    for number in range(6):
        tune(api, dataset, model=("causal_lm", "ships")[number % 2])
    execute("UPDATE jobs SET state = 'succeeded' WHERE kind = 'training'")

    def asked(path: str, limit: int) -> list[str]:
        with caught() as statements:
            assert len(ok(api.get(path, limit=limit))["data"]) == limit
        return [statement for statement, _ in statements]

    few, many = asked(TUNINGS, 2), asked(TUNINGS, 6)
    assert len(many) == len(few), many


def test_its_end_is_told_of_under_openais_name_to_who_wants_that(
    api: Api, dataset: str, file: str
) -> None:
    asked = {"url": "https://hooks.example.com", "events": ["fine_tuning.job.cancelled"]}
    webhook = ok(api.post("/api/v1/webhooks", asked), 201)
    ended = [tune(api, dataset), tune(api, file)]
    body = {"kind": "training", "family": "causal_lm", "dataset": dataset, "model": "own"}
    native = ok(api.post(JOBS, body), 202)

    for job in (*ended, native):
        ok(api.post(f"{JOBS}/{job['id']}/cancel"))

    told = ok(api.get(f"/api/v1/webhooks/{webhook['id']}/deliveries"))["data"]
    assert [event["type"] for event in told] == ["fine_tuning.job.cancelled"] * len(ended)


def test_pause_and_resume_keep_a_queued_training_from_running(api: Api, dataset: str) -> None:
    job = tune(api, dataset)

    assert ok(api.post(f"{TUNINGS}/{job['id']}/pause"))["status"] == "paused"
    assert ok(api.post(f"{TUNINGS}/{job['id']}/resume"))["status"] == "queued"
    assert_sound()


def supervised(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


@pytest.mark.parametrize(
    "fields",
    [
        {"method": supervised(n_epochs=3, batch_size=4, learning_rate_multiplier=0.5, layers=2)},
        {
            "hyperparameters": {
                "n_epochs": 3,
                "batch_size": 4,
                "learning_rate_multiplier": 0.5,
                "layers": 2,
            }
        },
    ],
    ids=["method", "top level"],
)
def test_hyperparameters_become_the_familys_own(
    api: Api, dataset: str, fields: dict[str, Any]
) -> None:
    job = tune(api, dataset, **fields)

    params = ok(api.get(f"{JOBS}/{job['id']}"))["params"]
    assert (params["max_epochs"], params["batch_size"], params["layers"]) == (3, 4, 2)
    assert params["learning_rate"] == 4e-3, "half of the family's"
    assert params["max_seconds"] == 7 * 86_400, "three passes, however long they take"
    assert job["hyperparameters"] == {
        "n_epochs": 3,
        "batch_size": 4,
        "learning_rate_multiplier": 0.5,
    }
    assert job["method"]["type"] == "supervised"
    assert job["method"]["supervised"]["hyperparameters"] == params | job["hyperparameters"]


def test_auto_is_the_familys_default(api: Api, dataset: str) -> None:
    auto = dict.fromkeys(("n_epochs", "batch_size", "learning_rate_multiplier"), "auto")

    job = tune(api, dataset, method=supervised(**auto, max_seconds=5))

    assert job["hyperparameters"] == {
        "n_epochs": "auto",
        "batch_size": 8,
        "learning_rate_multiplier": 1.0,
    }
    assert ok(api.get(f"{JOBS}/{job['id']}"))["params"]["max_seconds"] == 5


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "gpt-4o-mini"}, 404, "model"),
        ({"model": "conditional_gan"}, 400, "training_file"),
        ({"training_file": "file-none"}, 404, "training_file"),
        ({"training_file": "none"}, 404, "training_file"),
        ({"suffix": "My Shop"}, 400, "suffix"),
        ({"suffix": "a:b"}, 400, "suffix"),
        ({"seed": -1}, 400, "seed"),
        ({"validation_file": "file-none"}, 404, "validation_file"),
        ({"validation_file": "none"}, 404, "validation_file"),
        ({"validation_file": "ships@1"}, 400, "validation_file"),
        ({"integrations": [{"type": "wandb"}]}, 400, "integrations"),
        ({"method": {"type": "dpo"}}, 400, "method.type"),
        ({"method": {"type": "gan"}}, 400, "method.type"),
        ({"method": {"type": "supervised", "gan": {}}}, 400, "method.gan"),
        ({"method": supervised(speed=1)}, 400, "method.supervised.hyperparameters.speed"),
        ({"method": supervised(n_epochs=0)}, 400, "method.supervised.hyperparameters.n_epochs"),
        (
            {"method": supervised(n_epochs=1, max_epochs=2)},
            400,
            "method.supervised.hyperparameters.max_epochs",
        ),
        (
            {"method": supervised(batch_size=10**9)},
            400,
            "method.supervised.hyperparameters.batch_size",
        ),
        (
            {"method": supervised(learning_rate_multiplier=1e9)},
            400,
            "method.supervised.hyperparameters.learning_rate",
        ),
        ({"method": supervised(seed=1), "seed": 2}, 400, "seed"),
        ({"method": supervised(), "hyperparameters": {}}, 400, "hyperparameters"),
        ({"hyperparameters": {"speed": 1}}, 400, "hyperparameters.speed"),
        ({"stream": True}, 400, "stream"),
        ({"metadata": {"a" * 65: "b"}}, 400, None),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(
    api: Api, dataset: str, fields: dict[str, Any], status: int, param: str | None
) -> None:
    body = {"model": "causal_lm", "training_file": dataset, **fields}

    error = refused(api.post(TUNINGS, body), status)

    assert param is None or error["param"] == param, error
    assert ok(api.get(TUNINGS))["data"] == []


def test_a_file_of_another_purpose_is_refused(api: Api) -> None:
    batch = upload(api, "{}\n", purpose="batch")

    error = refused(api.post(TUNINGS, {"model": "causal_lm", "training_file": batch}), 400)

    assert error["param"] == "training_file"
    assert "fine-tune" in error["message"]


@pytest.mark.usefixtures("stand_in")
def test_a_family_without_a_training_and_a_job_of_another_kind_are_refused(
    api: Api, dataset: str
) -> None:
    error = refused(api.post(TUNINGS, {"model": "stand-in", "training_file": dataset}), 400)
    assert error["param"] == "model"

    generation = api.submit({})
    refused(api.get(f"{TUNINGS}/{generation['id']}"), 404)
    refused(api.post(f"{TUNINGS}/{generation['id']}/cancel"), 404)


def test_a_key_that_may_only_read_looks_and_changes_nothing(
    api: Api, dataset: str, tenant: Tenant
) -> None:
    job = tune(api, dataset)
    reader = api.with_key(new_key(tenant.id, [Scope.READ]))

    ok(reader.get(f"{TUNINGS}/{job['id']}/events"))
    refused(reader.post(f"{TUNINGS}/{job['id']}/cancel"), 403)


def test_the_jobs_of_a_model_of_the_tenants_own_name_its_version(
    api: Api, dataset: str, tenant: Tenant
) -> None:
    with transaction() as session:
        new = models.NewVersion("none", {}, {}, {})
        models.register(session, tenant.id, "ships", catalog.family("causal_lm"), new)

    job = tune(api, dataset, model="ships", suffix="more")

    assert job["model"] == "ships@1"
    assert ok(api.get(f"{JOBS}/{job['id']}"))["model"].startswith("ft:ships:more:")


def test_events_and_checkpoints_have_openais_shape_and_come_newest_first(
    api: Api, dataset: str
) -> None:
    job = tune(api, dataset)
    execute(f"""
        INSERT INTO events (job_id, type, level, message, data) VALUES
        ('{job["id"]}', 'metrics', 'info', 'evaluation at step 5',
            '{{"step": 5, "metrics": {{"bits_per_byte": {{"value": 2.5}}}},
                "losses": {{"loss": 1.5, "accuracy": 0.25}}}}'),
        ('{job["id"]}', 'checkpoint', 'info', 'checkpoint at step 5', '{{"step": 5}}'),
        ('{job["id"]}', 'warning', 'warning', 'losses were not numbers', '{{}}'),
        ('{job["id"]}', 'checkpoint', 'info', 'checkpoint at step 9', '{{"step": 9}}')
    """)

    told = ok(api.get(f"{TUNINGS}/{job['id']}/events", limit=3))
    rest = ok(api.get(f"{TUNINGS}/{job['id']}/events", after=told["last_id"]))
    saved = ok(api.get(f"{TUNINGS}/{job['id']}/checkpoints"))["data"]

    assert [event["message"] for event in told["data"]][:2] == [
        "checkpoint at step 9",
        "losses were not numbers",
    ]
    assert (told["has_more"], told["data"][1]["level"]) == (True, "warn")
    native = ok(api.get(f"{JOBS}/{job['id']}/events", type="warning"))["data"]
    assert [event["level"] for event in native] == ["warn"], "by either face one word"
    assert (rest["data"][0]["type"], rest["data"][0]["data"]["step"]) == ("metrics", 5)
    assert {event["object"] for event in rest["data"]} == {"fine_tuning.job.event"}
    assert [checkpoint["step_number"] for checkpoint in saved] == [9, 5]
    assert (rest["data"][0]["data"]["train_loss"], rest["data"][0]["data"]["bits_per_byte"]) == (
        1.5,
        2.5,
    )
    assert saved[1]["metrics"] == {
        "step": 5,
        "bits_per_byte": 2.5,
        "train_loss": 1.5,
        "train_mean_token_accuracy": 0.25,
    }
    assert saved[1]["fine_tuning_job_id"] == job["id"]
    assert saved[1]["fine_tuned_model_checkpoint"] is None
    after = ok(api.get(f"{TUNINGS}/{job['id']}/checkpoints", after=saved[0]["id"]))["data"]
    assert after == saved[1:]

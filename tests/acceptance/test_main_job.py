"""The main job on a whole installation over HTTP: data sets, training, batches, results, kills."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from api.demo.client import Client, Json
from api.demo.material import digits_archive, reference
from api.doctor import LOOKS
from tests.benchmarks.installation import Installation, installation
from tests.waiting import until

LABELS = [str(label) for label in range(10)]


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    with installation(ATELIER_CHECKPOINT_SECONDS="2", ATELIER_LEASE_SECONDS="20") as running:
        yield running


@pytest.fixture(scope="module")
def client(site: Installation) -> Client:
    return site.client


@pytest.fixture(scope="module")
def digits(client: Client) -> Json:
    return prepare(client, "digits", "image", "digits.zip", digits_archive(), {"size": 16})


@pytest.fixture(scope="module")
def topics(client: Client) -> Json:
    return prepare(client, "topics", "text", "topics.jsonl", reference(), {})


def prepare(
    client: Client, name: str, modality: str, filename: str, content: bytes, options: Json
) -> Json:
    file = client.upload(filename, content)
    body = {"name": name, "modality": modality, "files": [file], "options": options}
    dataset = client.post("/api/v1/datasets", body)
    assert dataset["state"] == "preparing"
    client.wait(dataset["job"], lambda _: None)
    return client.get(f"/api/v1/datasets/{dataset['id']}")


def train(client: Client, family: str, dataset: Json, name: str, **params: object) -> Json:
    return client.post(
        "/api/v1/jobs",
        {
            "kind": "training",
            "family": family,
            "dataset": dataset["id"],
            "model": name,
            "params": params,
        },
    )


@pytest.fixture(scope="module")
def image_model(client: Client, digits: Json) -> str:
    job = train(client, "conditional_gan", digits, "digits", max_steps=60, max_seconds=120)
    client.wait(job["id"], lambda _: None)
    return "digits"


@pytest.fixture(scope="module")
def text_model(client: Client, topics: Json) -> str:
    size = {"layers": 2, "width": 64, "vocabulary": 512, "context": 128}
    job = train(client, "causal_lm", topics, "topics", max_steps=60, max_seconds=120, **size)
    client.wait(job["id"], lambda _: None)
    return "topics"


def generate(client: Client, model: str, params: list[Json]) -> list[Json]:
    items = [{"custom_id": str(n), "params": each} for n, each in enumerate(params)]
    job = client.post("/api/v1/jobs", {"kind": "generation", "model": model, "items": items})
    ended = client.wait(job["id"], lambda _: None)
    assert ended["counts"]["done"] == len(params)
    return list(client.all(f"/api/v1/jobs/{job['id']}/outputs"))


def test_a_data_set_is_ready_with_its_report(digits: Json, topics: Json) -> None:
    assert digits["state"] == topics["state"] == "ready"
    assert digits["report"]["examples"] == 1797
    assert sum(digits["report"]["labels"].values()) == 1797
    assert topics["report"]["languages"]["en"] > 50


def test_the_doctor_finds_a_running_installation_well_and_a_lost_storage_amiss(
    site: Installation, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    def look(**changed: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / "atelier"), "doctor"]
        return subprocess.run(command, env=os.environ | changed, capture_output=True, text=True)

    well = look()
    amiss = look(ATELIER_STORAGE_URL=f"file:{tmp_path / 'file' / 'below'}")

    assert (well.returncode, well.stderr.count("ok   ")) == (0, len(LOOKS)), well.stderr
    assert amiss.returncode == 1
    assert "FAULT  storage" in amiss.stderr
    assert amiss.stderr.count("ok   ") == len(LOOKS) - 1


def test_the_same_files_prepared_again_are_a_new_version_with_the_same_hash(
    client: Client, digits: Json
) -> None:
    again = prepare(client, "digits", "image", "digits.zip", digits_archive(), {"size": 16})

    assert again["version"] == digits["version"] + 1
    assert again["hash"] == digits["hash"]


def test_a_trained_model_has_a_card_with_metrics_beside_their_floors(
    client: Client, image_model: str, text_model: str, digits: Json
) -> None:
    card = client.get(f"/api/v1/models/{image_model}")["versions"][0]["card"]
    assert card["dataset"]["hash"] == digits["hash"]
    assert card["metrics"]["fd"]["floor"] > 0
    assert "@" in card["metrics"]["fd"]["against"]
    assert {"kd", "precision", "recall", "density", "coverage", "label_accuracy"} <= set(
        card["metrics"]
    )

    card = client.get(f"/api/v1/models/{text_model}")["versions"][0]["card"]
    assert card["metrics"]["bits_per_byte"]["against"] == "xz -9e"
    assert card["compute_seconds"] > 0


def test_a_training_goes_on_from_a_model_whose_family_need_not_be_said(
    client: Client, digits: Json, image_model: str
) -> None:
    body = {"kind": "training", "base": f"{image_model}@1", "dataset": digits["id"]}
    job = client.post(
        "/api/v1/jobs", {**body, "model": "further-digits", "params": {"max_steps": 2}}
    )
    client.wait(job["id"], lambda _: None)

    assert job["family"] == "conditional_gan"
    version = client.get("/api/v1/models/further-digits")["versions"][0]
    assert version["card"]["base"] == f"{image_model}@1"
    first = client.get(f"/api/v1/models/{image_model}")["versions"][0]
    assert version["config"]["trained_steps"] > first["config"]["trained_steps"]


def test_a_training_tells_of_itself_while_it_runs(client: Client, image_model: str) -> None:
    (job,) = client.get("/api/v1/jobs", kind="training", model=image_model)["data"]
    types = {event["type"] for event in client.all(f"/api/v1/jobs/{job['id']}/events")}

    assert {"state", "metrics", "sheet", "checkpoint", "model"} <= types


@pytest.mark.parametrize("modality", ["image", "text"])
def test_the_same_seed_gives_the_same_content_alone_and_in_any_batch(
    client: Client, image_model: str, text_model: str, modality: str
) -> None:
    model, params = {
        "image": (image_model, [{"label": label, "seed": 7} for label in LABELS]),
        "text": (
            text_model,
            [{"prompt": "The " * n, "seed": n, "max_tokens": 12} for n in range(10)],
        ),
    }[modality]

    together = {o["custom_id"]: o["sha256"] for o in generate(client, model, params)}
    alone = [generate(client, model, [each])[0]["sha256"] for each in params[:3]]

    assert alone == [together[str(n)] for n in range(3)]
    assert len(set(together.values())) > 5


def test_every_output_is_what_its_record_says(client: Client, image_model: str) -> None:
    for output in generate(client, image_model, [{"label": "3", "n": 4}]):
        content = client.content(f"/api/v1/outputs/{output['id']}/content")
        assert content.startswith(b"\x89PNG")
        assert hashlib.sha256(content).hexdigest() == output["sha256"]
        assert output["provenance"]["weights_hash"]
        assert output["params"]["label"] == "3"


def test_a_running_training_is_cancelled_within_five_seconds(client: Client, topics: Json) -> None:
    job = train(client, "causal_lm", topics, "cancelled", max_seconds=300)
    await_step(client, job["id"])

    client.post(f"/api/v1/jobs/{job['id']}/cancel", {})

    until(lambda: client.get(f"/api/v1/jobs/{job['id']}")["state"] == "cancelled", within_s=5)


def test_a_killed_training_goes_on_by_itself_from_its_checkpoint(
    client: Client, site: Installation, topics: Json
) -> None:
    job = train(client, "causal_lm", topics, "survivor", max_steps=120, max_seconds=200, layers=2)
    await_event(client, job["id"], "checkpoint")
    for process in psutil.Process(site.process.pid).children(recursive=True):
        if "training" in process.cmdline() or "training@%h" in process.cmdline():
            os.kill(process.pid, signal.SIGKILL)
    ended = client.wait(job["id"], lambda _: None)

    warnings = [
        event["message"]
        for event in client.all(f"/api/v1/jobs/{job['id']}/events")
        if event["type"] == "warning"
    ]
    assert ended["state"] == "succeeded"
    assert any("goes on from the checkpoint" in message for message in warnings)


def test_generation_is_served_while_a_training_runs(
    client: Client, image_model: str, topics: Json
) -> None:
    job = train(client, "causal_lm", topics, "busy", max_seconds=300)
    await_step(client, job["id"])
    generate(client, image_model, [{"label": "1"}])

    assert client.get(f"/api/v1/jobs/{job['id']}")["state"] == "running"
    client.post(f"/api/v1/jobs/{job['id']}/cancel", {})


def await_step(client: Client, job_id: str) -> None:
    """Until a training has begun its steps."""
    await_event(client, job_id, "progress")


def await_event(client: Client, job_id: str, type_: str) -> None:
    def is_told() -> bool:
        told = client.all(f"/api/v1/jobs/{job_id}/events")
        return any(event["type"] == type_ for event in told)

    until(is_told, within_s=120)

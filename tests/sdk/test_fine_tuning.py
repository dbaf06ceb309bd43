"""OpenAI's own client, unchanged, trains models of text and of pictures and uses them at once."""

import csv
import io
import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob
from PIL import Image

from api.app import create_app
from api.demo.material import digits_archive
from shared.states import Lane
from tests.ledger import assert_sound
from tests.settings import forget_settings
from tests.threads import draining, served
from tests.waiting import until

TINY = {"layers": 1, "width": 64, "heads": 2, "vocabulary": 320, "context": 64}
ENDED = {"succeeded", "failed", "cancelled"}


@pytest.fixture
def address(installation: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server without a worker."""
    monkeypatch.setenv("ATELIER_WAIT_SECONDS", "240")
    forget_settings()
    with served(create_app()) as address:
        yield f"{address}/v1"


@pytest.fixture
def worker(address: str) -> Iterator[None]:
    """A worker of every lane that these jobs need."""
    with draining(Lane.LIGHT, Lane.TRAINING, Lane.TEXT, Lane.IMAGE):
        yield


def upload(client: OpenAI, filename: str, content: bytes) -> str:
    return client.files.create(file=(filename, content), purpose="fine-tune").id


def upload_lines(client: OpenAI, *rows: dict[str, Any]) -> str:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    return upload(client, "train.jsonl", lines.encode())


def chats(answer: str, count: int = 60) -> list[dict[str, Any]]:
    """Chats of which every answer is the same."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"How many gulls are {number}?"},
                {"role": "assistant", "content": answer},
            ]
        }
        for number in range(count)
    ]


def wait(client: OpenAI, job: FineTuningJob) -> FineTuningJob:
    def final() -> FineTuningJob | None:
        found = client.fine_tuning.jobs.retrieve(job.id)
        return found if found.status in ENDED else None

    return until(final, within_s=240)


def supervised(**hyperparameters: Any) -> Any:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


@pytest.mark.usefixtures("worker")
def test_a_text_model_is_trained_from_chats_used_at_once_trained_further_and_deleted(
    client: OpenAI,
) -> None:
    job = trained_from_chats(client)
    model = str(job.fine_tuned_model)
    assert model.startswith("ft:causal_lm:sailor:")
    assert model in [found.id for found in client.models.list()]
    assert [found.id for found in client.fine_tuning.jobs.list()] == [job.id]
    assert completed(client, model) == " Ahoy, sailor!\n", "and it knows where to end"
    assert chatted(client, model) == "Ahoy, sailor!"
    told_of(client, job)

    further = trained_further(client, model)
    assert further.model == f"{model}@1"
    assert completed(client, str(further.fine_tuned_model)) == " Aye!\n"

    assert client.models.delete(model).deleted
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(model)
    assert client.models.retrieve(str(further.fine_tuned_model)).object == "model"
    assert_sound()


def trained_from_chats(client: OpenAI) -> FineTuningJob:
    file = upload_lines(client, *chats("Ahoy, sailor!"))
    job = client.fine_tuning.jobs.create(
        model="causal_lm",
        training_file=file,
        suffix="sailor",
        seed=3,
        metadata={"team": "sea"},
        method=supervised(max_steps=80, batch_size=8, learning_rate_multiplier=2, **TINY),
    )
    assert job.status in {"validating_files", "queued", "running"}
    job = wait(client, job)
    assert (job.status, job.error) == ("succeeded", None)
    assert (job.training_file, job.seed, job.metadata) == (file, 3, {"team": "sea"})
    return job


@pytest.mark.usefixtures("worker")
def test_a_training_is_measured_on_the_validation_file_and_leaves_its_losses_and_tokens(
    client: OpenAI,
) -> None:
    """What only the validation file says is not learnt: there the loss is the higher one."""
    file = upload_lines(client, *chats("Ahoy, sailor!"))
    other = upload_lines(client, *chats("Nine bells have rung.", 12))
    job = client.fine_tuning.jobs.create(
        model="causal_lm",
        training_file=file,
        validation_file=other,
        method=supervised(max_steps=60, batch_size=8, **TINY),
    )
    assert (job.validation_file, job.trained_tokens, job.result_files) == (other, None, [])

    job = wait(client, job)

    assert (job.status, job.validation_file) == ("succeeded", other)
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    last = checkpoints[0].metrics
    assert (last.step, last.valid_loss) == (60, last.full_valid_loss)
    assert last.train_loss is not None
    assert last.valid_loss is not None
    assert last.train_loss < 0.5 < 2 < last.valid_loss
    assert last.valid_mean_token_accuracy is not None
    assert last.train_mean_token_accuracy is not None
    assert last.valid_mean_token_accuracy < last.train_mean_token_accuracy

    events = client.fine_tuning.jobs.list_events(job.id, limit=100).data
    told = [event.data for event in events if event.type == "metrics"]
    losses = {data["step"]: data["valid_loss"] for data in told if "full_valid_loss" in data}
    assert losses == {one.step_number: one.metrics.valid_loss for one in checkpoints}

    rows = results_of(client, job)
    assert [int(row["step"]) for row in rows] == list(range(1, 61))
    measured = {int(row["step"]): float(row["valid_loss"]) for row in rows if row["valid_loss"]}
    assert measured == pytest.approx(losses, rel=1e-5)
    # A step sees eight windows, of which at least the answers are learnt, and never all of them.
    assert job.trained_tokens is not None
    assert 60 * 8 < job.trained_tokens < 60 * 8 * TINY["context"]


def test_jobs_are_found_by_their_metadata(client: OpenAI) -> None:
    file = upload_lines(client, *chats("Ahoy!"))
    told = ({"team": "sea", "a]=b": "c"}, {"team": "sea"}, {"team": "land"})
    both, sea, land = (
        client.fine_tuning.jobs.create(
            model="causal_lm", training_file=file, metadata=metadata, method=supervised(max_steps=1)
        ).id
        for metadata in told
    )

    def found(metadata: dict[str, str]) -> set[str]:
        return {job.id for job in client.fine_tuning.jobs.list(metadata=metadata, limit=1)}

    assert found({"team": "sea"}) == {both, sea}
    assert found({"team": "sea", "a]=b": "c"}) == {both}
    assert found({"team": "land"}) == {land}
    assert found({"crew": "sea"}) == set()
    with pytest.raises(openai.BadRequestError) as refused:
        found({"team": "s" * 513})
    assert refused.value.param == "metadata.team"


def results_of(client: OpenAI, job: FineTuningJob) -> list[dict[str, str]]:
    """The rows of the file of its losses."""
    (id_,) = job.result_files
    file = client.files.retrieve(id_)
    assert (file.purpose, file.filename) == ("fine-tune-results", "step_metrics.csv")
    return list(csv.DictReader(client.files.content(id_).text.splitlines()))


def trained_further(client: OpenAI, model: str) -> FineTuningJob:
    rows = (
        {"prompt": f"user: How many gulls are {n}?\nassistant:", "completion": " Aye!\n"}
        for n in range(60)
    )
    job = client.fine_tuning.jobs.create(
        model=model,
        training_file=upload_lines(client, *rows),
        hyperparameters={"n_epochs": 30, "batch_size": 8, "learning_rate_multiplier": 5},
    )
    job = wait(client, job)
    assert (job.status, job.error) == ("succeeded", None)
    assert job.hyperparameters.n_epochs == 30
    return job


def completed(client: OpenAI, model: str) -> str:
    completion = client.completions.create(
        model=model,
        prompt="user: How many gulls are 77?\nassistant:",
        max_tokens=30,
        temperature=0,
    )
    return completion.choices[0].text


def chatted(client: OpenAI, model: str) -> str:
    chat = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "How many gulls are 77?"}],
        max_tokens=30,
        temperature=0,
    )
    assert chat.choices[0].finish_reason == "stop"
    return str(chat.choices[0].message.content).strip()


def told_of(client: OpenAI, job: FineTuningJob) -> None:
    """Its events come newest first over all pages; of its checkpoints one became the model."""
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=4))
    assert [event.id for event in events] == sorted({e.id for e in events}, key=int, reverse=True)
    assert "succeeded" in {event.message for event in events[:2]}
    assert {"message", "metrics"} == {event.type for event in events}

    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=2))
    steps = [one.step_number for one in checkpoints]
    # Five of them, spread over the steps or, where those take long, over the time.
    assert steps == sorted({*steps, 80}, reverse=True)
    assert len(steps) == 5
    measured = {one.step_number: one.metrics.to_dict()["bits_per_byte"] for one in checkpoints}
    (model,) = [one for one in checkpoints if one.fine_tuned_model_checkpoint is not None]
    assert model.fine_tuned_model_checkpoint == job.fine_tuned_model
    assert model.step_number == min(measured, key=lambda step: (measured[step], step))


@pytest.mark.usefixtures("worker")
def test_a_gan_is_trained_from_an_archive_of_pictures_and_used_at_once(client: OpenAI) -> None:
    method: Any = {
        "type": "gan",
        "gan": {"hyperparameters": {"max_steps": 10, "width": 16, "batch_size": 32}},
    }
    job = client.fine_tuning.jobs.create(
        model="conditional_gan",
        training_file=upload(client, "digits.zip", digits_archive()),
        method=method,
        suffix="digits",
    )
    job = wait(client, job)
    assert (job.status, job.error) == ("succeeded", None)

    images = client.images.generate(
        model=str(job.fine_tuned_model),
        prompt="7",
        n=2,
        size="auto",
        response_format="b64_json",
        extra_body={"seed": 1},
    )

    assert images.data is not None
    pictures = [Image.open(io.BytesIO(b64decode(str(one.b64_json)))) for one in images.data]
    assert [picture.size for picture in pictures] == [(16, 16), (16, 16)]
    assert pictures_by_link(client, str(job.fine_tuned_model)) == [
        b64decode(str(one.b64_json)) for one in images.data
    ]
    assert picture_of_batch(client, str(job.fine_tuned_model)) == b64decode(
        str(images.data[0].b64_json)
    )
    assert_sound()


def pictures_by_link(client: OpenAI, model: str) -> list[bytes]:
    """The same two pictures, by addresses that need no key."""
    linked = client.images.generate(model=model, prompt="7", n=2, extra_body={"seed": 1})
    return [httpx.get(str(one.url)).content for one in linked.data or []]


def picture_of_batch(client: OpenAI, model: str) -> bytes:
    """The first of them, by the address that stands in a batch's output file."""
    body = {"model": model, "prompt": "7", "seed": 1}
    request = {"custom_id": "a", "method": "POST", "url": "/v1/images/generations", "body": body}
    content = json.dumps(request).encode()
    file = client.files.create(file=("batch.jsonl", content), purpose="batch")
    endpoint: Any = "/v1/images/generations"
    batch = client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")
    output_file_id = until(lambda: client.batches.retrieve(batch.id).output_file_id)
    line = json.loads(client.files.content(str(output_file_id)).text)
    return httpx.get(line["response"]["body"]["data"][0]["url"]).content


def test_a_training_is_paused_resumed_and_cancelled_while_it_waits(client: OpenAI) -> None:
    file = upload_lines(client, *chats("Ahoy!"))
    job = client.fine_tuning.jobs.create(model="causal_lm", training_file=file)
    with pytest.raises(openai.ConflictError):
        client.fine_tuning.jobs.pause(job.id)
    with draining(Lane.LIGHT):
        while job.status == "validating_files":
            job = client.fine_tuning.jobs.retrieve(job.id)

    assert client.fine_tuning.jobs.pause(job.id).status == "paused"
    assert client.fine_tuning.jobs.resume(job.id).status == "queued"
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(openai.ConflictError):
        client.fine_tuning.jobs.cancel(job.id)


@pytest.mark.usefixtures("worker")
def test_the_guides_example_runs(
    address: str, api_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "fine-tuning.md").read_text("utf-8")
    code = guide.partition("```python\n")[2].partition("```")[0]
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    monkeypatch.setenv("OPENAI_API_KEY", api_key)
    monkeypatch.chdir(tmp_path)
    lines = "".join(json.dumps(row) + "\n" for row in chats("We open at nine."))
    Path("chats.jsonl").write_text(lines, "utf-8")

    names: dict[str, Any] = {}
    exec(code, names)

    assert names["job"].status == "succeeded"
    assert names["answer"].choices[0].text


@pytest.mark.usefixtures("worker")
def test_a_file_without_examples_fails_its_job_and_names_the_line(client: OpenAI) -> None:
    file = upload_lines(client, {"messages": [{"role": "user", "content": "Hi"}]})

    job = wait(client, client.fine_tuning.jobs.create(model="causal_lm", training_file=file))

    assert job.status == "failed"
    assert job.error is not None
    assert job.error.param == "training_file"
    assert "train.jsonl:1" in job.error.message
    assert job.fine_tuned_model is None


def test_the_clients_errors_name_the_field(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file="file-1")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")

    with pytest.raises(openai.BadRequestError) as integration:
        client.fine_tuning.jobs.create(
            model="causal_lm",
            training_file="file-1",
            integrations=[{"type": "wandb", "wandb": {"project": "a"}}],
        )
    assert integration.value.param == "integrations"
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.retrieve("ftjob-1")


def test_the_clients_retry_under_a_key_makes_no_second_job(client: OpenAI) -> None:
    file = upload_lines(client, *chats("Ahoy!"))

    ids = {
        client.fine_tuning.jobs.create(
            model="causal_lm", training_file=file, extra_headers={"Idempotency-Key": "a"}
        ).id
        for _ in range(2)
    }

    assert [job.id for job in client.fine_tuning.jobs.list()] == list(ids)

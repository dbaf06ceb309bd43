"""What `/v1/fine_tuning/jobs` answers: jobs, events and checkpoints in OpenAI's shapes."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.times import seconds, seconds_or_none
from shared import catalog
from shared.services import fine_tuning, looks
from shared.services.checkpoints import Saved
from shared.services.tuning_names import Names
from shared.states import EventLevel, JobState
from shared.statuses import TuningStatus, tuning_status
from shared.tables.job import Event, Job

_MEASURING = frozenset({"metrics", "progress"})
_TRAINED = {"loss": "train_loss", "accuracy": "train_mean_token_accuracy"}
"""What OpenAI's clients call the losses of a step; a family's other names stay as they are."""


class TuningError(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    param: str | None


class UsualHyperparameters(BaseModel):
    """What OpenAI's clients know of a training."""

    n_epochs: int | Literal["auto"]
    batch_size: int
    learning_rate_multiplier: float


class FineTuningJobAnswer(BaseModel):
    """A training job as OpenAI's clients see it."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    finished_at: int | None
    estimated_finish: int | None = Field(
        description="While it runs, once its pace tells; a training may end sooner."
    )
    status: TuningStatus
    model: str = Field(description="The base: a family, or a model with its version.")
    fine_tuned_model: str | None = Field(description="The name to use, once it has succeeded.")
    training_file: str = Field(description="A file's id, or a data set with its version.")
    validation_file: str | None = Field(description="As `training_file`, where one was named.")
    result_files: list[str] = Field(
        description="For text, once it has succeeded: a CSV of the losses, step by step."
    )
    hyperparameters: UsualHyperparameters
    method: dict[str, Any] = Field(description="Its type, and all of the family's parameters.")
    seed: int
    trained_tokens: int | None = Field(
        description="For text, once it has succeeded: tokens that the loss saw, in all passes."
    )
    error: TuningError | None
    integrations: list[Any] = []
    metadata: dict[str, str]
    organization_id: str = Field(description="The tenant.")


class TuningEventAnswer(BaseModel):
    """Something that happened to a job."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: EventLevel
    type: Literal["message", "metrics"]
    message: str
    data: dict[str, Any]


class TuningCheckpointAnswer(BaseModel):
    """A checkpoint that was saved."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str | None = Field(
        description="The job's model, where it has this checkpoint's weights: the best one's."
    )
    step_number: int
    metrics: dict[str, float] = Field(description="The step, and whatever was measured at it.")


def show_tuning(job: Job, names: Names) -> FineTuningJobAnswer:
    """A training job as its answer."""
    family = catalog.family(str(job.family))
    assert family.training is not None
    method = fine_tuning.method_of(family)
    usual_rate = family.training.model_fields["learning_rate"].default
    usual = UsualHyperparameters(
        n_epochs=job.params.get("max_epochs") or "auto",
        batch_size=job.params["batch_size"],
        learning_rate_multiplier=round(job.params["learning_rate"] / usual_rate, 9),
    )
    return FineTuningJobAnswer(
        id=job.id,
        created_at=seconds(job.created_at),
        finished_at=seconds_or_none(job.finished_at),
        estimated_finish=seconds_or_none(looks.expected_end(job)),
        status=tuning_status(JobState(job.state)),
        model=names.model,
        fine_tuned_model=names.fine_tuned_model,
        training_file=names.training_file,
        validation_file=names.validation_file,
        result_files=[job.output_file_id] if job.output_file_id is not None else [],
        hyperparameters=usual,
        method={"type": method, method: {"hyperparameters": usual.model_dump() | job.params}},
        seed=job.params["seed"],
        trained_tokens=job.trained_tokens,
        error=_error(job),
        metadata=job.meta,
        organization_id=job.tenant_id,
    )


def _error(job: Job) -> TuningError | None:
    if tuning_status(JobState(job.state)) != "failed":
        return None
    told = job.error or {"code": job.state, "message": f"The job has {job.state}."}
    return TuningError(code=told["code"], message=told["message"], param=told.get("param"))


def show_tuning_event(event: Event) -> TuningEventAnswer:
    """An event as its answer."""
    return TuningEventAnswer(
        id=str(event.id),
        created_at=seconds(event.created_at),
        level=EventLevel(event.level),
        type="metrics" if event.type in _MEASURING else "message",
        message=event.message,
        data={**event.data, **_numbers(event)},
    )


def _numbers(event: Event) -> dict[str, float]:
    """What an event measured, flat, beside what it tells of that in its own shape."""
    metrics = {name: told["value"] for name, told in event.data.get("metrics", {}).items()}
    return _renamed({**metrics, **event.data.get("losses", {})})


def _renamed(values: dict[str, float]) -> dict[str, float]:
    return {_TRAINED.get(name, name): value for name, value in values.items()}


def show_checkpoint(job: Job, saved: Saved) -> TuningCheckpointAnswer:
    """A checkpoint as its answer."""
    return TuningCheckpointAnswer(
        id=str(saved.event.id),
        created_at=seconds(saved.event.created_at),
        fine_tuning_job_id=job.id,
        fine_tuned_model_checkpoint=saved.model,
        step_number=saved.step,
        metrics={"step": saved.step, **_renamed(saved.metrics)},
    )

"""What a job's state is called in the OpenAI API, by the kind of object it is shown as."""

from typing import Literal

from shared.states import JobState
from shared.tables.job import Job

_BATCH = {
    JobState.VALIDATING: "validating",
    JobState.QUEUED: "in_progress",
    JobState.RUNNING: "in_progress",
    JobState.PAUSED: "in_progress",
    JobState.CANCELLING: "cancelling",
    JobState.FINALIZING: "finalizing",
    JobState.SUCCEEDED: "completed",
    JobState.PARTIAL: "completed",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "expired",
}

TuningStatus = Literal[
    "validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"
]

_TUNING: dict[JobState, TuningStatus] = {
    JobState.VALIDATING: "validating_files",
    JobState.QUEUED: "queued",
    JobState.RUNNING: "running",
    JobState.PAUSED: "paused",
    # It is asked to stop, and may still be done before it does.
    JobState.CANCELLING: "running",
    JobState.FINALIZING: "running",
    JobState.SUCCEEDED: "succeeded",
    JobState.PARTIAL: "failed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "failed",
}


def batch_status(job: Job, state: JobState) -> str:
    """What a batch in this state is called: it has failed only where no result files were written;
    requests that fail are told in its error file. Once cancelled it is `cancelling` to its end.
    """
    if state is JobState.FINALIZING and job.cancelled > 0:
        return "cancelling"
    if state is JobState.FAILED:
        return "failed" if job.error_file_id is None else "completed"
    return _BATCH[state]


def tuning_status(state: JobState) -> TuningStatus:
    """What a fine-tuning job in this state is called."""
    return _TUNING[state]

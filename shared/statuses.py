"""What a job's state is called in the OpenAI API, by the kind of object it is shown as."""

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


def batch_status(job: Job, state: JobState) -> str:
    """What a batch in this state is called: it has failed only where no result files were written;
    requests that fail are told in its error file.
    """
    if state is JobState.FAILED:
        return "failed" if job.error_file_id is None else "completed"
    return _BATCH[state]

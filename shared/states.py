"""Every state of the system, each documented where it stands.

A state changes in exactly one guarded function of `shared/services`: `UPDATE … WHERE state =
:expected`.
"""

from enum import StrEnum


class Modality(StrEnum):
    """What kind of content a family makes."""

    TEXT = "text"
    """Strings of Unicode text."""
    IMAGE = "image"
    """Pictures, stored as PNG."""
    AUDIO = "audio"
    """Sound clips."""
    VIDEO = "video"
    """Moving pictures."""


class Lane(StrEnum):
    """A Celery queue and the workers that listen to it."""

    TEXT = "text"
    """Generation with text models."""
    IMAGE = "image"
    """Generation with image models."""
    AUDIO = "audio"
    """Generation with audio models."""
    VIDEO = "video"
    """Generation with video models."""
    TRAINING = "training"
    """Training and evaluation: long, at lower priority, apart from generation."""
    LIGHT = "light"
    """Work without a model: ingestion, validating and finalizing of batch files."""


class JobKind(StrEnum):
    """What a job asks for."""

    GENERATION = "generation"
    """Outputs from a model, one item per request."""
    TRAINING = "training"
    """A new version of a model; one item."""
    EVALUATION = "evaluation"
    """The metrics of one model version on a data set; one item."""
    INGESTION = "ingestion"
    """A data set from uploaded files or judged outputs; one item."""
    EMBEDDING = "embedding"
    """Vectors of texts from a model, one item per request."""

    @property
    def has_outputs(self) -> bool:
        """Whether its items are many, run in batches and make outputs."""
        return self in OUTPUT_KINDS


OUTPUT_KINDS = frozenset({JobKind.GENERATION, JobKind.EMBEDDING})


class JobState(StrEnum):
    """Where a job stands. The last five are final."""

    VALIDATING = "validating"
    """Its input file's lines are becoming items, or its training data are being prepared."""
    QUEUED = "queued"
    """Accepted; no item has started."""
    RUNNING = "running"
    """At least one item has started."""
    PAUSED = "paused"
    """Its items wait until it is resumed."""
    CANCELLING = "cancelling"
    """Asked to stop; running items have not ended yet."""
    FINALIZING = "finalizing"
    """Every item has ended; its output and error files are being written."""
    SUCCEEDED = "succeeded"
    """Every item is done."""
    PARTIAL = "partial"
    """Some items are done, others are not."""
    FAILED = "failed"
    """No item is done, or its input file was refused."""
    CANCELLED = "cancelled"
    """Ended by request; what was done before stays."""
    EXPIRED = "expired"
    """Its deadline passed before every item had started; what was done stays."""

    @property
    def final(self) -> bool:
        return self in FINAL_JOB_STATES


FINAL_JOB_STATES = frozenset(
    {
        JobState.SUCCEEDED,
        JobState.PARTIAL,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.EXPIRED,
    }
)


class ItemState(StrEnum):
    """Where an item stands. The last four are final."""

    QUEUED = "queued"
    """Waits in the table `queue`."""
    RUNNING = "running"
    """Claimed by a worker under a lease."""
    DONE = "done"
    """Its outputs are committed."""
    FAILED = "failed"
    """Ended with an error, or crashed too often (code `crashed`)."""
    CANCELLED = "cancelled"
    """Ended by request before it was done."""
    EXPIRED = "expired"
    """Its deadline passed before it started."""


class Step(StrEnum):
    """What a claimed item is to its job."""

    RUN = "run"
    """The work itself; the only step that counts in the job's counters."""
    VALIDATE = "validate"
    """Turn the job's input file into items."""
    FINALIZE = "finalize"
    """Write the job's output and error files."""


class Stage(StrEnum):
    """What a worker does with a lease at this moment."""

    LOAD = "load"
    """Fetch and load the model or the data set."""
    FORWARD = "forward"
    """Run the model, or train it."""
    ENCODE = "encode"
    """Turn tensors into files."""
    STORE = "store"
    """Upload files and commit their rows."""


class Stop(StrEnum):
    """Why a lease was asked to stop."""

    CANCEL = "cancel"
    """The job was cancelled: items end as cancelled."""
    PAUSE = "pause"
    """The job was paused: items go back to the queue."""
    SHUTDOWN = "shutdown"
    """The worker is going away: items go back to the queue, no attempt spent."""


class FailureKind(StrEnum):
    """How an attempt of an item went wrong."""

    ERROR = "error"
    """The family refused it or raised."""
    CRASH = "crash"
    """Its worker ended, or stood still, while it ran."""


class DeliveryState(StrEnum):
    """Where an event stands on its way to a webhook."""

    PENDING = "pending"
    """To be sent, for the first time or again."""
    DELIVERED = "delivered"
    """The receiver took it."""
    FAILED = "failed"
    """Every attempt was spent, or the receiver is gone; it can be replayed."""


class DatasetState(StrEnum):
    """Where a data set stands."""

    PREPARING = "preparing"
    """Its ingestion job has not ended."""
    READY = "ready"
    """Prepared, addressed by its hash, immutable from now on."""
    FAILED = "failed"
    """Its files were refused; the report says why. Nothing is kept of it."""


class UploadState(StrEnum):
    """Where an upload stands. All but the first are final."""

    PENDING = "pending"
    """It takes parts."""
    COMPLETED = "completed"
    """Its parts have become a file."""
    CANCELLED = "cancelled"
    """Given up by its client; nothing is kept of it."""
    EXPIRED = "expired"
    """Not completed within an hour; nothing is kept of it."""


class OutputState(StrEnum):
    """Where an output stands between model and client."""

    RELEASED = "released"
    """Delivered; nobody has judged it."""
    APPROVED = "approved"
    """A reviewer approved it."""
    REJECTED = "rejected"
    """A reviewer rejected it."""
    UNREVIEWED = "unreviewed"
    """Delivered; nothing for people to judge, such as vectors."""


class Decision(StrEnum):
    """What one verdict says of one output."""

    APPROVE = "approve"
    """Good enough to use."""
    REJECT = "reject"
    """Not to be used."""
    WITHDRAW = "withdraw"
    """The reviewer takes the last verdict back; the output stands as before it."""


class EventLevel(StrEnum):
    """How much an event matters to whoever reads of it."""

    INFO = "info"
    """As it should be."""
    WARN = "warn"
    """To be looked at."""
    ERROR = "error"
    """What was asked for did not come of it."""

    @classmethod
    def _missing_(cls, value: object) -> "EventLevel | None":
        # What some events of older releases say.
        return cls.WARN if value == "warning" else None


class Scope(StrEnum):
    """What an API key may do. A route names the one scope it needs."""

    READ = "read"
    """See jobs, items, outputs, models, data sets and files."""
    GENERATE = "generate"
    """Submit, cancel and retry generation jobs; one-off calls."""
    TRAIN = "train"
    """Upload files, judge outputs, prepare data sets, submit training and evaluation jobs."""
    ADMIN = "admin"
    """Everything the tenant can do, keys included."""


class Role(StrEnum):
    """What a signed-in person may do in the dashboard."""

    REVIEWER = "reviewer"
    """See everything of the tenant and give verdicts."""
    ADMIN = "admin"
    """All of that, and cancel jobs."""

"""Evaluation: the metrics of one model version on the test split of a data set."""

from typing import Any

from sqlalchemy.orm import Session

from shared.db import transaction
from shared.services import datasets, jobs
from shared.services.events import add_event
from shared.services.ledger.claim import Claimed
from shared.states import Stage
from worker.host import host
from worker.lease import Lease
from worker.training import open_and_judge
from worker.work import Conclude


def evaluate(item: Claimed, lease: Lease) -> Conclude:
    """Measure a model. Raises Stopped, Permanent or Retryable."""
    lease.enter(Stage.LOAD)
    with transaction() as session:
        job = jobs.get(session, item.tenant_id, item.job_id)
        dataset = datasets.get(session, item.tenant_id, str(job.dataset_id))
    ready = host().models.get(str(item.model_version_id))
    lease.enter(Stage.FORWARD)
    _, quality = open_and_judge(dataset, ready.code, lease)
    lease.check()
    metrics = {
        name: metric.as_json()
        for name, metric in quality.measure(ready.loaded, quick=False).items()
    }

    def conclude(session: Session) -> None:
        data: dict[str, Any] = {"model": ready.name, "metrics": metrics}
        add_event(session, item.job_id, "metrics", f"metrics of {ready.name}", data)

    return conclude

"""What the examples of the description name: models, a data set, files and outputs."""

from typing import Any

from sqlalchemy.orm import Session

from shared import catalog
from shared.db import transaction
from shared.services import models
from shared.states import DatasetState, Modality, OutputState
from shared.tables.dataset import Dataset
from shared.tables.output import Output
from tests.api.client import Api, ok
from tests.ledger import execute

OUTPUTS = ("output_01k9z3n6vq0c8t2w5h7m4r1xja", "output_01k9z3n6vq0c8t2w5h7m4r1xjb")
FILES = ("file-01k9z3n6vq0c8t2w5h7m4r1xja", "file-01k9z3n6vq0c8t2w5h7m4r1xjb")


def furnish(api: Api, tenant_id: str) -> None:
    """Give a tenant all of it."""
    with transaction() as session:
        digits = {"labels": list("0123456789"), "size": 28}
        _register(session, tenant_id, "digits", "conditional_gan", digits)
        _register(session, tenant_id, "stories", "causal_lm", {"max_position_embeddings": 512})
        session.add(_dataset(tenant_id))
    for id_ in FILES:
        uploaded = ok(api.upload(b"{}\n"))["id"]
        execute(f"UPDATE files SET id = '{id_}' WHERE id = '{uploaded}'")
    submitted = {"kind": "generation", "model": "digits", "items": [{"params": {}}]}
    job = ok(api.post("/api/v1/jobs", submitted), 202)
    with transaction() as session:
        new = [_output(tenant_id, job["id"], index, id_) for index, id_ in enumerate(OUTPUTS)]
        approved = _output(tenant_id, job["id"], len(OUTPUTS), "output_approved")
        approved.state = OutputState.APPROVED
        session.add_all([*new, approved])


def _register(
    session: Session, tenant_id: str, name: str, family: str, config: dict[str, Any]
) -> None:
    new = models.NewVersion("none", {}, config, {})
    models.register(session, tenant_id, name, catalog.family(family), new)


def _dataset(tenant_id: str) -> Dataset:
    return Dataset(
        id="dataset_digits",
        tenant_id=tenant_id,
        name="digits",
        version=1,
        modality=Modality.IMAGE,
        state=DatasetState.READY,
        files=[],
        options={},
    )


def _output(tenant_id: str, job_id: str, index: int, id_: str) -> Output:
    return Output(
        id=id_,
        tenant_id=tenant_id,
        job_id=job_id,
        item_id=1,
        index=index,
        media_type="image/png",
        key="none",
        bytes=0,
        sha256="0" * 64,
        seed=1,
        facts={},
        provenance={},
    )

"""What the examples of the description name: models, a data set, files and outputs."""

from typing import Any

from sqlalchemy.orm import Session

from shared import catalog
from shared.db import transaction
from shared.services import models
from shared.states import DatasetState, Lane, Modality
from shared.tables.dataset import Dataset
from tests.api.client import Api, ok
from tests.ledger import execute
from worker.runner import drain

FAMILIES = "tests.families.costless_text,tests.families.costless_images"
"""Of its models: they make what they are asked for, at no cost."""
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
    for id_, made in zip(OUTPUTS, _pictures(api, len(OUTPUTS)), strict=True):
        execute(f"UPDATE outputs SET id = '{id_}' WHERE id = '{made}'")
    (approved,) = _pictures(api, 1)
    execute(f"UPDATE outputs SET state = 'approved' WHERE id = '{approved}'")


def _pictures(api: Api, count: int) -> list[str]:
    """The ids of so many, made now."""
    submitted = {"kind": "generation", "model": "digits", "items": [{"params": {"n": count}}]}
    job = ok(api.post("/api/v1/jobs", submitted), 202)
    drain(Lane.IMAGE)
    return [made["id"] for made in ok(api.get(f"/api/v1/jobs/{job['id']}/outputs"))["data"]]


def _register(
    session: Session, tenant_id: str, name: str, family: str, config: dict[str, Any]
) -> None:
    new = models.NewVersion("none", {}, config, {})
    models.register(session, tenant_id, name, catalog.family(family), new)


def _dataset(tenant_id: str) -> Dataset:
    return Dataset(
        id="dataset_01k9z3n6vq0c8t2w5h7m4r1xjc",
        tenant_id=tenant_id,
        name="digits",
        version=1,
        modality=Modality.IMAGE,
        state=DatasetState.READY,
        files=[],
        options={},
    )

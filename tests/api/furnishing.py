"""What the examples of the description name: models, data, outputs, a key and an upload."""

import io
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
FILES = {
    "file-01k9z3n6vq0c8t2w5h7m4r1xja": "batch",
    "file-01k9z3n6vq0c8t2w5h7m4r1xjb": "batch",
    "file-01k9z3n6vq0c8t2w5h7m4r1xjc": "fine-tune",
}
"""Each with its purpose."""
PART, LENGTH = "part_01k9z3n6vq0c8t2w5h7m4r1xja", 64
"""The only part of an upload."""


def furnish(api: Api, tenant_id: str) -> dict[str, str]:
    """Give a tenant all of it. Returns what is at addresses with an open part, by what stands
    before that.
    """
    with transaction() as session:
        digits = {"labels": list("0123456789"), "size": 28}
        _register(session, tenant_id, "digits", "conditional_gan", digits)
        _register(session, tenant_id, "stories", "causal_lm", {"max_position_embeddings": 512})
        session.add(_dataset(tenant_id))
    for id_, purpose in FILES.items():
        uploaded = ok(api.upload(b"{}\n", purpose=purpose))["id"]
        execute(f"UPDATE files SET id = '{id_}' WHERE id = '{uploaded}'")
    for id_, made in zip(OUTPUTS, _pictures(api, len(OUTPUTS)), strict=True):
        execute(f"UPDATE outputs SET id = '{id_}' WHERE id = '{made}'")
    (approved,) = _pictures(api, 1)
    execute(f"UPDATE outputs SET state = 'approved' WHERE id = '{approved}'")
    key = ok(api.post("/api/v1/keys", {"name": "the shop", "scopes": ["read"]}), 201)
    return {
        "/api/v1/keys": key["id"],
        "/api/v1/models": "digits",
        "/v1/uploads": _upload(api),
    }


def _pictures(api: Api, count: int) -> list[str]:
    """The ids of so many, made now."""
    submitted = {"kind": "generation", "model": "digits", "items": [{"params": {"n": count}}]}
    job = ok(api.post("/api/v1/jobs", submitted), 202)
    drain(Lane.IMAGE)
    return [made["id"] for made in ok(api.get(f"/api/v1/jobs/{job['id']}/outputs"))["data"]]


def _upload(api: Api) -> str:
    """An upload of which all has come."""
    announced = {"filename": "a.txt", "purpose": "fine-tune", "mime_type": "text/plain"}
    upload = ok(api.post("/v1/uploads", {**announced, "bytes": LENGTH}))["id"]
    form = {"data": (io.BytesIO(b"a" * LENGTH), "part")}
    part = ok(api.request("POST", f"/v1/uploads/{upload}/parts", data=form))["id"]
    execute(f"UPDATE upload_parts SET id = '{PART}' WHERE id = '{part}'")
    return upload


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

"""One of everything that a tenant can own, for another tenant to ask for."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

from tests.api.client import JOBS, Api, ok

Things = dict[str, str]
"""An id, or a name, by the noun of its address: `jobs` of `/api/v1/jobs/<id>`."""

UPLOAD = {"filename": "a", "purpose": "batch", "bytes": 3, "mime_type": "text/plain"}

NOBODYS = {"families"}
"""Nouns whose things belong to the installation: everybody may see them."""


def make(own: Api) -> Things:
    """One of everything. A new noun must be added here, so that a stranger tries it."""
    file_id = ok(own.upload(b"text\na\n", "rows.csv", "fine-tune"))["id"]
    body = {"name": "rows", "modality": "text", "files": [file_id]}
    dataset = ok(own.post("/api/v1/datasets", body), 202)
    job = own.run({})
    (output,) = ok(own.get(f"{JOBS}/{job['id']}/outputs"))["data"]
    tuning = {"model": "causal_lm", "training_file": file_id}
    training = ok(own.post("/v1/fine_tuning/jobs", tuning))
    key = ok(own.post("/api/v1/keys", {"name": "a", "scopes": ["read"]}), 201)
    lines = ok(own.upload(b"{}\n"))["id"]
    asked = {"input_file_id": lines, "endpoint": "/v1/completions", "completion_window": "24h"}
    batch = ok(own.post("/v1/batches", asked))
    hook = ok(own.post("/api/v1/webhooks", {"url": "https://hooks.example.com"}), 201)
    verdict = {"output": output["id"], "decision": "approve"}
    review = ok(own.post("/api/v1/reviews", verdict), 201)
    return {
        "files": file_id,
        "batches": batch["id"],
        "uploads": ok(own.post("/v1/uploads", UPLOAD))["id"],
        "webhooks": hook["id"],
        "datasets": dataset["id"],
        "jobs": job["id"],
        "fine_tuning/jobs": training["id"],
        "outputs": output["id"],
        "reviews": review["id"],
        "keys": key["id"],
        "models": "stand-in",
    }


def still_there(own: Api, noun: str, id_: str) -> bool:
    """Whether its owner still has it as it was."""
    if noun == "uploads":
        form = {"data": (BytesIO(b"abc"), "part")}
        return own.request("POST", f"/v1/uploads/{id_}/parts", data=form).status_code == 200
    if noun == "keys":
        listed = ok(own.get("/api/v1/keys"))["data"]
        return any(key["id"] == id_ and key["revoked_at"] is None for key in listed)
    openais = {"files", "batches", "fine_tuning/jobs"}
    prefix = "/v1" if noun in openais else "/api/v1"
    return own.get(f"{prefix}/{noun}/{id_}").status_code == 200


_RUN = {"kind": "generation", "model": "strangers-own"}
_TRAIN = {"kind": "training", "model": "new", "family": "causal_lm"}

REFERRING: dict[tuple[str, str], Callable[[Things], dict[str, Any]]] = {
    (JOBS, "model"): lambda its: {**_RUN, "model": its["models"], "items": [{"params": {}}]},
    (JOBS, "input_file"): lambda its: {**_RUN, "input_file": its["files"]},
    (JOBS, "dataset"): lambda its: {**_TRAIN, "dataset": its["datasets"]},
    (JOBS, "webhook"): lambda its: {
        **_RUN,
        "items": [{"params": {}}],
        "webhook": its["webhooks"],
    },
    ("/api/v1/datasets", "files"): lambda its: {
        "name": "mine",
        "modality": "text",
        "files": [its["files"]],
    },
    ("/api/v1/reviews", "output"): lambda its: {"output": its["outputs"], "decision": "approve"},
    ("/v1/batches", "input_file_id"): lambda its: {
        "input_file_id": its["files"],
        "endpoint": "/v1/completions",
        "completion_window": "24h",
    },
    ("/v1/chat/completions", "model"): lambda its: {
        "model": its["models"],
        "messages": [{"role": "user", "content": "a"}],
    },
    ("/v1/fine_tuning/jobs", "model"): lambda its: {
        "model": its["models"],
        "training_file": "rows",
    },
    ("/v1/fine_tuning/jobs", "training_file"): lambda its: {
        "model": "causal_lm",
        "training_file": its["files"],
    },
    ("/v1/fine_tuning/jobs", "validation_file"): lambda its: {
        "model": "causal_lm",
        "training_file": "rows",
        "validation_file": its["files"],
    },
    ("/v1/embeddings", "model"): lambda its: {"model": its["models"], "input": "a"},
    ("/v1/completions", "model"): lambda its: {"model": its["models"]},
    ("/v1/images/generations", "model"): lambda its: {"model": its["models"]},
}
"""For each field of a body that names a thing: a body that names another tenant's."""

FILTERS = {("/api/v1/failures/retry", "job"), ("/api/v1/failures/retry", "item")}
"""Fields that only choose among the caller's own: another tenant's id chooses nothing."""

NAMING_NOTHING = {("/v1/chat/completions", "prompt_cache_key")}
"""Fields that are called like one, and are the client's own words."""

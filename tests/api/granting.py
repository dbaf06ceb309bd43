"""What the operations need that chance would seldom grant: for each, what a request has to name, of
things that are made just before.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from shared import catalog
from shared.db import transaction
from shared.ids import new_id
from shared.services import models
from tests.api.client import Api, ok, run_queued
from tests.api.tunings import TUNINGS, upload_texts
from tests.api.uploading import PIECES, announce, send
from tests.waiting import until

REQUESTS = 50
"""Of a batch that is to be cancelled before it has ended."""


@dataclass(frozen=True)
class Named:
    """What a request names."""

    path: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    """Fields that it sets, whatever the others are."""


Grants = Mapping[str, Callable[[], Named]]
"""By operation."""


def grants(api: Api, tenant_id: str) -> Grants:
    """Makes what each operation needs. The data sets are prepared at once."""
    of_files, of_outputs = _dataset_of_files(api), _dataset_of_outputs(api)

    def tuning(*steps: str) -> Named:
        body = {"model": "conditional_gan", "training_file": "digits"}
        id_ = ok(api.post(TUNINGS, body))["id"]
        for step in steps:
            ok(api.post(f"{TUNINGS}/{id_}/{step}"))
        return Named({"id": id_})

    looked_at = cache(tuning)
    for_text, for_images = Named(body={"model": "stories"}), Named(body={"model": "digits"})
    return {
        "DELETE /v1/models/{id}": lambda: _trained_model(tenant_id),
        "GET /api/v1/datasets/{id}/outputs": lambda: of_outputs,
        "GET /api/v1/datasets/{id}/sheet": lambda: of_files,
        "GET /api/v1/outputs/{id}/content/{link}": lambda: _linked_output(api),
        "GET /v1/fine_tuning/jobs/{id}": looked_at,
        "GET /v1/fine_tuning/jobs/{id}/checkpoints": looked_at,
        "GET /v1/fine_tuning/jobs/{id}/events": looked_at,
        "POST /api/v1/jobs/{id}/resume": lambda: tuning("pause"),
        "POST /api/v1/jobs/{id}/retry": lambda: _failed_job(api),
        "POST /api/v1/webhooks/{id}/deliveries/{delivery}/replay": lambda: _delivery(api),
        "POST /v1/batches/{id}/cancel": lambda: _batch(api),
        "POST /v1/chat/completions": lambda: for_text,
        "POST /v1/completions": lambda: for_text,
        "POST /v1/embeddings": lambda: for_text,
        "POST /v1/fine_tuning/jobs/{id}/cancel": tuning,
        "POST /v1/fine_tuning/jobs/{id}/pause": tuning,
        "POST /v1/fine_tuning/jobs/{id}/resume": lambda: tuning("pause"),
        "POST /v1/images/generations": lambda: for_images,
        "POST /v1/uploads/{id}/complete": lambda: _sent_upload(api),
    }


def _dataset_of_files(api: Api) -> Named:
    return _prepared(api, {"name": "ships", "files": [upload_texts(api)]})


def _dataset_of_outputs(api: Api) -> Named:
    job = api.run(*({"seed": seed} for seed in range(3)))
    for made in ok(api.get(f"/api/v1/jobs/{job['id']}/outputs"))["data"]:
        ok(api.post("/api/v1/reviews", {"output": made["id"], "decision": "approve"}), 201)
    return _prepared(api, {"name": "approved", "outputs": {"model": "stand-in"}})


def _prepared(api: Api, body: dict[str, Any]) -> Named:
    dataset = ok(api.post("/api/v1/datasets", {**body, "modality": "text"}), 202)
    run_queued()
    ready = ok(api.get(f"/api/v1/datasets/{dataset['id']}"))
    assert ready["state"] == "ready", ready["report"]
    return Named({"id": dataset["id"]})


def _trained_model(tenant_id: str) -> Named:
    name, family = f"trained-{new_id('model')}", catalog.family("causal_lm")
    with transaction() as session:
        new = models.NewVersion("none", {}, {}, {})
        models.register(session, tenant_id, name, family, new, "job_of_long_ago")
    return Named({"id": name})


def _linked_output(api: Api) -> Named:
    body = {"model": "digits", "prompt": "7"}
    (made,) = ok(api.post("/v1/images/generations", body))["data"]
    return Named({"id": made["output"], "link": made["url"].rpartition("/")[2]})


def _failed_job(api: Api) -> Named:
    id_ = api.submit({"fault": "refuse"}, priority=100)["id"]
    until(lambda: ok(api.get(f"/api/v1/jobs/{id_}"))["state"] == "failed")
    return Named({"id": id_})


def _delivery(api: Api) -> Named:
    # Requests made at random may have left as many as there may be.
    for old in ok(api.get("/api/v1/webhooks", limit=100))["data"][20:]:
        api.delete(f"/api/v1/webhooks/{old['id']}")
    url = "https://hooks.example.com/deliveries"
    webhook = ok(api.post("/api/v1/webhooks", {"url": url, "events": ["job.cancelled"]}), 201)
    job = api.submit({"seconds": 60}, webhook=webhook["id"])
    ok(api.post(f"/api/v1/jobs/{job['id']}/cancel"))
    deliveries = f"/api/v1/webhooks/{webhook['id']}/deliveries"
    (delivery,) = until(lambda: ok(api.get(deliveries))["data"])
    return Named({"id": webhook["id"], "delivery": delivery["id"]})


def _batch(api: Api) -> Named:
    body = {"model": "stories", "prompt": "Once"}
    lines = [
        {"custom_id": str(number), "method": "POST", "url": "/v1/completions", "body": body}
        for number in range(REQUESTS)
    ]
    file = ok(api.upload("\n".join(map(json.dumps, lines)).encode()))
    asked = {"endpoint": "/v1/completions", "completion_window": "24h"}
    return Named({"id": ok(api.post("/v1/batches", {"input_file_id": file["id"], **asked}))["id"]})


def _sent_upload(api: Api) -> Named:
    upload = ok(announce(api))
    parts = [ok(send(api, upload, piece))["id"] for piece in PIECES]
    return Named({"id": upload["id"]}, {"part_ids": parts, "md5": None})

"""What tests of fine-tuning share: files to learn from, and jobs that do."""

import json
from typing import Any

from tests.api.client import JOBS, Api, ok

TUNINGS = "/v1/fine_tuning/jobs"
TEXTS = [f"The {number} ships sailed at dawn over the grey sea." for number in range(40)]


def upload(api: Api, content: str, filename: str = "set.jsonl", purpose: str = "fine-tune") -> str:
    return ok(api.upload(content.encode(), filename, purpose))["id"]


def upload_texts(api: Api, *more: dict[str, Any]) -> str:
    """The id of a file of texts."""
    lines = [*({"text": text} for text in TEXTS), *more]
    return upload(api, "".join(json.dumps(line) + "\n" for line in lines))


def tune(api: Api, training_file: str, **fields: Any) -> dict[str, Any]:
    return ok(api.post(TUNINGS, {"model": "causal_lm", "training_file": training_file, **fields}))


def state(api: Api, job: dict[str, Any]) -> str:
    return ok(api.get(f"{JOBS}/{job['id']}"))["state"]


def preparation(api: Api) -> dict[str, Any]:
    """The one job that prepares a data set."""
    (job,) = ok(api.get(JOBS, kind="ingestion"))["data"]
    return job

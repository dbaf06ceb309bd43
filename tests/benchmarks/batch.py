"""A batch of the OpenAI API from its upload to its output file, with models that cost nothing. One
line of JSON; run: python -m tests.benchmarks.batch (about four minutes).

* seconds: from the beginning of the upload until the file was stored, the batch accepted, its
  lines found good, all of them run, the output file written, and that file fetched and found whole
* api_growth_mib, workers_growth_mib: what the most memory that all their processes together took
  is above what it was before
* answers_p99_ms: what looks at the batch took meanwhile
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openai import OpenAI
from openai.types import Batch

from shared import catalog
from shared.db import transaction
from shared.services import models
from tests.benchmarks.installation import Installation, installation
from tests.benchmarks.ledger import percentile
from tests.benchmarks.memory import API, WORKERS, peaks

FAMILY = "tests.families.costless_text"
ENDED = {"completed", "failed", "expired", "cancelled"}
MOST_API_GROWTH_MIB = 64
_PAUSE_S = 0.1


@dataclass
class Course:
    """How a batch went."""

    seconds: dict[str, float] = field(default_factory=dict)
    """By what was reached, since the beginning."""
    api_growth_mib: float = 0.0
    workers_growth_mib: float = 0.0
    answers_ms: list[float] = field(default_factory=list)


def add_parrot(tenant_id: str) -> None:
    """Register a text model that repeats its prompts, at no cost."""
    with transaction() as session:
        new = models.NewVersion("none", {}, {}, {})
        models.register(session, tenant_id, "parrot", catalog.family("causal_lm"), new)


def run_whole(on: Installation, client: OpenAI, prompts: Sequence[str]) -> Course:
    """Have a request for each of these prompts answered, from the upload to the output file, which
    must hold every answer in the order of the requests.
    """
    path = write_requests(on.home / "batch.jsonl", prompts)
    course = Course()
    api, workers = peaks(on, API), peaks(on, WORKERS)
    began = time.perf_counter()

    def reached(what: str) -> None:
        course.seconds.setdefault(what, round(time.perf_counter() - began, 2))

    file = client.files.create(file=path, purpose="batch")
    reached("uploaded")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/completions", completion_window="24h"
    )
    reached("accepted")
    while batch.status not in ENDED:
        asked = time.perf_counter()
        batch = client.batches.retrieve(batch.id)
        course.answers_ms.append(1000 * (time.perf_counter() - asked))
        reached(batch.status)
        time.sleep(_PAUSE_S)
    assert_whole(client, batch, prompts)
    reached("fetched")

    course.api_growth_mib = round((peaks(on, API) - api) / 2**20, 1)
    course.workers_growth_mib = round((peaks(on, WORKERS) - workers) / 2**20, 1)
    return course


def write_requests(path: Path, prompts: Sequence[str]) -> Path:
    """An input file of a request for each of these prompts."""
    with path.open("w") as lines:
        for number, prompt in enumerate(prompts):
            body = {"model": "parrot", "prompt": prompt, "max_tokens": 1}
            line = {"custom_id": f"request-{number}", "method": "POST", "url": "/v1/completions"}
            lines.write(json.dumps(line | {"body": body}) + "\n")
    return path


def assert_whole(client: OpenAI, batch: Batch, prompts: Sequence[str]) -> None:
    """All requests were answered, each once, in their order, and with what they asked for."""
    assert batch.status == "completed", batch
    assert batch.error_file_id is None
    assert batch.request_counts is not None
    counts = batch.request_counts.to_dict()
    assert counts == {"total": len(prompts), "completed": len(prompts), "failed": 0}

    assert batch.output_file_id is not None
    with client.files.with_streaming_response.content(batch.output_file_id) as answer:
        asked = enumerate(prompts)
        for (number, prompt), line in zip(asked, answer.iter_lines(), strict=True):
            told = json.loads(line)
            assert told["custom_id"] == f"request-{number}"
            assert told["response"]["status_code"] == 200
            (choice,) = told["response"]["body"]["choices"]
            assert choice["text"] == prompt


def main() -> None:
    with installation(ATELIER_FAMILIES=FAMILY) as on:
        add_parrot(on.tenant_id)
        with OpenAI(base_url=f"{on.address}/v1", api_key=on.key, timeout=120) as client:
            run_whole(on, client, ["Hello"] * 100)  # everything is loaded once
            course = run_whole(on, client, [f"Prompt {number}" for number in range(50_000)])
    assert course.api_growth_mib <= MOST_API_GROWTH_MIB
    found: dict[str, Any] = {
        "seconds": course.seconds,
        "api_growth_mib": course.api_growth_mib,
        "workers_growth_mib": course.workers_growth_mib,
        "answers_p99_ms": round(percentile(course.answers_ms, 0.99), 1),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

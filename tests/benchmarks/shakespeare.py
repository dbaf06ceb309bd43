"""A language model of tiny Shakespeare through the whole system. One line of JSON.

Run: python -m tests.benchmarks.shakespeare. The first nine tenths of the file are one data set, on
which the model is trained; the last tenth is another, on which an evaluation job measures it.
"""

import json
import time
from pathlib import Path

from api.demo.client import Client, Json
from tests.benchmarks.installation import installation

TEXT = Path(__file__).resolve().parents[3] / "shared" / "data" / "text-en" / "tinyshakespeare.txt"
SECONDS = 165
"""Of training; with the tokenizer before it and the last measurement the job stays below 180."""


def prepare(client: Client, name: str, content: bytes, options: Json) -> Json:
    file = client.upload(f"{name}.txt", content)
    body = {"name": name, "modality": "text", "files": [file], "options": options}
    dataset = client.post("/api/v1/datasets", body)
    client.wait(dataset["job"], lambda _: None)
    return dataset


def main() -> None:
    content = TEXT.read_bytes()
    cut = len(content) * 9 // 10
    with installation() as on:
        client = on.client
        # Nothing of the last tenth is trained on, so little need be held out of the rest.
        kept = {"validation": 0.03, "test": 0.03, "deduplicate": False}
        first = prepare(client, "first", content[:cut], kept)
        last = prepare(
            client, "last", content[cut:], {"validation": 0, "test": 1, "deduplicate": False}
        )
        began = time.monotonic()
        job = client.post(
            "/api/v1/jobs",
            {
                "kind": "training",
                "family": "causal_lm",
                "dataset": first["id"],
                "model": "shakespeare",
                "params": {"max_seconds": SECONDS},
            },
        )
        client.wait(job["id"], lambda _: None)
        seconds = time.monotonic() - began
        body = {"kind": "evaluation", "model": "shakespeare", "dataset": last["id"]}
        evaluation = client.post("/api/v1/jobs", body)
        client.wait(evaluation["id"], lambda _: None)
        events = client.all(f"/api/v1/jobs/{evaluation['id']}/events")
        metrics = next(e["data"]["metrics"] for e in events if e["type"] == "metrics")
        card = client.get("/api/v1/models/shakespeare")["versions"][0]["card"]
    measured = metrics["bits_per_byte"]
    found = {
        "bits_per_byte": round(measured["value"], 4),
        "xz_9e": round(measured["floor"], 4),
        "bytes": measured["n"],
        "job_seconds": round(seconds, 1),
        "steps": card["steps"],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

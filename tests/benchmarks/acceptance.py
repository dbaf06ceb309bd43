"""What acceptance costs over HTTP, with the programs and limits of `atelier up` but those of
requests a minute. One line of JSON; run: python -m tests.benchmarks.acceptance (three minutes).

* one_item_p50_ms, one_item_p99_ms: POST /api/v1/jobs with one item, while a worker runs a steady
  stream of items of 20 ms
* accept_100k_s: 100,000 items in one request until 202, the most that one may have; its body has
  accept_100k_mib, of 64 MiB that it may have; accept_100k_growth_mib: how much more memory the
  API's processes had together, at most and afterwards
* stream_1m_s: 1,000,000 items as a JSONL file of stream_1m_mib, from the start of its upload until
  the job has left `validating`; of it stream_1m_upload_s, stream_1m_until_202_s and
  stream_1m_validating_s; stream_1m_growth_mib: as above
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from threading import Event
from typing import Any

import httpx
import psutil

from tests.benchmarks.installation import Installation, installation
from tests.benchmarks.ledger import SECONDS, percentile, submit
from tests.ledger import add_stand_in
from tests.threads import beside

SINGLES = 500
AT_ONCE = 100_000
STREAMED = 1_000_000
_MIB = 1 << 20
_JOBS = "/api/v1/jobs"


@contextmanager
def fresh() -> Iterator[Installation]:
    """An installation of its own for each figure, whose API has answered before."""
    with installation(ATELIER_FAMILIES="tests.families.stand_in") as on:
        add_stand_in(on.tenant_id)
        for _ in range(20):
            # A connection for each, so that every process of the API gets some.
            post(on, job_of(1))
        yield on


def job_of(items: int) -> bytes:
    """The body of a job with so many items, as a business would name and seed them."""
    named = [{"custom_id": f"item-{n}", "params": {"seed": n}} for n in range(items)]
    return json.dumps({"kind": "generation", "model": "stand-in", "items": named}).encode()


def post(on: Installation, body: bytes) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {on.key}", "Content-Type": "application/json"}
    answer = httpx.post(f"{on.address}{_JOBS}", content=body, headers=headers, timeout=120)
    answer.raise_for_status()
    return dict(answer.json())


@dataclass
class Growth:
    """Memory that the API's processes took together beyond what they had, in MiB."""

    peak: float = 0.0
    after: float = 0.0

    def told(self) -> dict[str, int]:
        return {"peak": round(self.peak), "after": round(self.after)}


@contextmanager
def growth(on: Installation) -> Iterator[Growth]:
    """Look at their memory twenty times a second while the block runs."""
    family = psutil.Process(on.process.pid).children(recursive=True)
    serving = [each for each in family if "gunicorn" in " ".join(each.cmdline())]
    assert len(serving) >= 2, "gunicorn and its workers"

    def resident() -> float:
        return sum(each.memory_info().rss for each in serving) / _MIB

    found, ended, before = Growth(), Event(), resident()

    def look() -> None:
        while not ended.wait(0.05):
            found.peak = max(found.peak, resident() - before)

    with beside(look, ended.set):
        yield found
        found.after = resident() - before
    found.peak = max(found.peak, found.after)


def one_item_ms() -> list[float]:
    """Milliseconds of requests with one item each, on a kept connection."""
    with fresh() as on:
        busy = submit(on, AT_ONCE, {"seconds": SECONDS})
        while on.client.get(f"{_JOBS}/{busy}")["counts"]["done"] == 0:
            time.sleep(0.1)
        found = []
        for _ in range(SINGLES):
            began = time.perf_counter()
            submit(on, 1, {})
            found.append(1000 * (time.perf_counter() - began))
        assert on.client.get(f"{_JOBS}/{busy}")["state"] == "running", "the worker had work"
    return found


def at_once() -> dict[str, Any]:
    """As many items as one request may have."""
    body = job_of(AT_ONCE)
    with fresh() as on, growth(on) as grown:
        began = time.perf_counter()
        job = post(on, body)
        accepted_s = time.perf_counter() - began
        assert job["counts"]["total"] == AT_ONCE
    return {
        "accept_100k_s": round(accepted_s, 2),
        "accept_100k_mib": round(len(body) / _MIB, 1),
        "accept_100k_growth_mib": grown.told(),
    }


def streamed() -> dict[str, Any]:
    """As many items as a file may have."""
    lines = (f'{{"custom_id": "item-{n}", "params": {{"seed": {n}}}}}\n' for n in range(STREAMED))
    content = "".join(lines).encode()
    with fresh() as on, growth(on) as grown:
        times = [time.perf_counter()]
        file_id = on.client.upload("items.jsonl", content, purpose="batch")
        times.append(time.perf_counter())
        body = {"kind": "generation", "model": "stand-in", "input_file": file_id}
        job = on.client.post(_JOBS, body)
        times.append(time.perf_counter())
        while job["state"] == "validating":
            time.sleep(0.1)
            job = on.client.get(f"{_JOBS}/{job['id']}")
        times.append(time.perf_counter())
        assert job["counts"]["total"] == STREAMED, job["error"]
    uploaded_s, accepted_s, validated_s = (round(end - start, 2) for start, end in pairwise(times))
    return {
        "stream_1m_s": round(times[-1] - times[0], 2),
        "stream_1m_upload_s": uploaded_s,
        "stream_1m_until_202_s": accepted_s,
        "stream_1m_validating_s": validated_s,
        "stream_1m_mib": round(len(content) / _MIB, 1),
        "stream_1m_growth_mib": grown.told(),
    }


def main() -> None:
    singles = one_item_ms()
    found = {
        "one_item_p50_ms": round(percentile(singles, 0.5), 1),
        "one_item_p99_ms": round(percentile(singles, 0.99), 1),
        **at_once(),
        **streamed(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""The OpenAI-compatible API under load. One line of JSON; run: python -m
tests.benchmarks.openai_api (a batch has one of its own: tests.benchmarks.batch)

* first_token_extra_ms: p50 and p95 of a streamed call on an idle system until its first token,
  less what the model itself takes for it
* stream_64: streams at once; their longest pause between two events, the connections to the
  database that they held, and the API's threads after all clients left in the middle
"""

import json
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
from openai import OpenAI
from sqlalchemy import text

from shared import catalog, wall
from shared.db import transaction
from shared.services import imports, models
from tests.benchmarks.installation import Installation, installation
from tests.benchmarks.ledger import percentile
from tests.conftest import DATA
from tests.ledger import add_stand_in

WEIGHTS = DATA / "weights-llama-stories260k" / "hf"
STORY = {"model": "stories", "prompt": "Once upon a time", "max_tokens": 64, "seed": 1}


def add_stories(tenant_id: str) -> None:
    """Import the small model that tells stories."""
    family = catalog.family("causal_lm")
    version = imports.store_folder(tenant_id, WEIGHTS, family)
    with transaction() as session:
        models.register(session, tenant_id, "stories", family, version)


def first_token_ms(client: OpenAI, times: int = 40) -> list[float]:
    """From the request until the first token, for one call after the other."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        with client.completions.create(**STORY, stream=True) as stream:
            next(iter(stream))
            found.append(1000 * (time.perf_counter() - began))
            for _ in stream:
                pass
    return found


def own_first_token_ms(times: int = 40) -> float:
    """What the model takes for it in this process: the median."""
    import torch

    from shared.families.causal_lm import TextParams
    from worker.family import UNWATCHED, Request
    from worker.text.causal_lm.family import CausalLm

    code = CausalLm()
    loaded = code.load(WEIGHTS, torch.device("cpu"))
    params = TextParams(prompt=STORY["prompt"], max_tokens=64, seed=1)
    found = []
    for _ in range(times):
        began = time.perf_counter()
        next(code.generate(loaded, [Request(params, watched=True)], UNWATCHED))
        found.append(1000 * (time.perf_counter() - began))
    return statistics.median(found)


def streams_at_once(on: Installation, client: OpenAI, count: int = 64) -> dict[str, Any]:
    """Many streams, read to their end; then many whose clients leave in the middle."""
    api = api_processes(on)
    longest_s: list[float] = []
    held: list[int] = []
    ended = threading.Event()

    def read(number: int) -> None:
        asked = {**STORY, "max_tokens": 200, "seed": number}
        last = None
        for _ in client.completions.create(**asked, stream=True):
            now = time.perf_counter()
            if last is not None:
                longest_s.append(now - last)
            last = now

    def look() -> None:
        while not ended.wait(0.05):
            held.append(connections())

    def leave(number: int) -> None:
        with client.completions.create(**STORY, stream=True, n=8) as stream:
            next(iter(stream))

    with ThreadPoolExecutor(count + 1) as pool:
        watching = pool.submit(look)
        began = time.perf_counter()
        try:
            list(pool.map(read, range(count)))
        finally:
            ended.set()
        took_s = time.perf_counter() - began
        watching.result()
        # The server keeps the threads that it once needed; a leak would need more each time.
        before = threads_of(api)
        for _ in range(3):
            list(pool.map(leave, range(count)))
    return {
        "seconds": round(took_s, 2),
        "longest_pause_s": round(max(longest_s), 2),
        "api_connections": {"median": statistics.median(held), "most": max(held)},
        "threads": {"after_streams": before, "after_clients_left": threads_of(api)},
    }


def connections() -> int:
    """Connections of the API that are in the middle of something."""
    # As the API's role: others are not told what its connections do.
    with wall.asking_for(wall.NOBODY), transaction() as session:
        found = session.execute(
            text("""
                SELECT count(*) FROM pg_stat_activity
                WHERE application_name = 'atelier' AND state <> 'idle' AND pid <> pg_backend_pid()
            """)
        )
        return int(found.scalar_one())


def api_processes(on: Installation) -> list[psutil.Process]:
    """gunicorn's processes below an installation."""
    below = psutil.Process(on.process.pid).children(recursive=True)
    return [one for one in below if any("gunicorn" in word for word in one.cmdline())]


def threads_of(processes: list[psutil.Process]) -> int:
    return sum(one.num_threads() for one in processes)


def main() -> None:
    with installation(ATELIER_FAMILIES="tests.families.stand_in") as on:
        add_stand_in(on.tenant_id)
        add_stories(on.tenant_id)
        client = OpenAI(base_url=f"{on.address}/v1", api_key=on.key, timeout=120)
        first_token_ms(client, 3)  # the worker warms up
        calls = first_token_ms(client)
        own = own_first_token_ms()
        found: dict[str, Any] = {
            "own_first_token_ms": round(own, 1),
            "first_token_extra_ms": {
                "p50": round(percentile(calls, 0.5) - own, 1),
                "p95": round(percentile(calls, 0.95) - own, 1),
            },
            "stream_64": streams_at_once(on, client),
        }
        client.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()

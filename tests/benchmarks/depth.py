"""The ledger at depth, through its own services. One line of JSON; run: python -m
tests.benchmarks.depth (about seven minutes, 6 GB of disk).

* claim_commit_items_per_s: by clients at once, batches of 16, no storage, a tenant's job for each
  client; claim_commit_one_job_items_per_s: all of them at one job, whose counters they share
* claim_p99_ms, status_p99_ms: with 5,000,000 items queued by 1,000 tenants
* wait_ratio: p95 wait of a tenant's 320 items while another floods 100,000, against alone
* share_error: the largest deviation of three tenants' shares from their weights, over 30,000 items
* churn_ratio: items/s in the last fifth of the time of 638,000 items by four clients, against the
  first;
  churn_dead_rows: dead rows of the queue after it
"""

import json
import multiprocessing
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from sqlalchemy import text

from migrations.commands import upgrade
from shared.db import forget_engine, reading, transaction
from shared.embedded.engines import engines
from shared.services import jobs, looks, tenants
from shared.services.pages import Cursor
from shared.settings import adopt
from tests.benchmarks.ledger import percentile
from tests.ledger import add_stand_in, finish, submit, take
from tests.settings import forget_settings

TENANTS = 1_000
DEEP = 5_000_000
FLOOD = 100_000
CHURNED = 640_000

# Rows as acceptance would make them, by one statement: it is the depth that is measured here.
_FILL = """
    INSERT INTO flows (lane, tenant_id, queued, cost)
        SELECT 'text', id, {each}, {each} FROM tenants ON CONFLICT DO NOTHING;
    INSERT INTO jobs (id, tenant_id, kind, state, lane, total, queued, model)
        SELECT 'job_' || id, id, 'generation', 'queued', 'text', {each}, {each}, 'stand-in'
        FROM tenants;
    INSERT INTO items (job_id, seq, params, flow_id, batch_key)
        SELECT 'job_' || flows.tenant_id, seq, '{{"n": 1}}', flows.id, 'version:' || flows.id
        FROM generate_series(0, {each} - 1) seq, flows WHERE flows.queued > 0;
    INSERT INTO queue (item_id, flow_id, rank, batch_key, cost)
        SELECT id, flow_id, 0, batch_key, 1 FROM items;
    ANALYZE;
"""


@contextmanager
def ledger() -> Iterator[str]:
    """A ledger on engines of its own; gives a tenant that may use a stand-in."""
    home = Path(tempfile.mkdtemp(prefix="atelier-")).resolve()
    home.chmod(0o711)
    with engines(home) as urls:
        adopt(
            {
                "ATELIER_HOME": str(home),
                "ATELIER_DATABASE_URL": str(urls.database),
                "ATELIER_REDIS_URL": str(urls.redis),
                "ATELIER_STORAGE_URL": f"file:{home / 'objects'}",
                "ATELIER_FAMILIES": "tests.families.stand_in",
            }
        )
        forget_settings()
        upgrade()
        yield add_tenant("first")
        forget_settings()
    shutil.rmtree(home, ignore_errors=True)


def add_tenant(name: str, weight: float = 1.0) -> str:
    with transaction() as session:
        id_ = tenants.add_tenant(session, name, weight).id
    add_stand_in(id_)
    return id_


def churn(items: int, ends: "Queue[list[float]]") -> None:
    """Claim and commit until so many are done; tells when each batch was."""
    found: list[float] = []
    while 16 * len(found) < items and (claimed := take()).items:
        finish(claimed)
        found.append(time.monotonic())
    ends.put(found)
    forget_engine()


def churn_by(clients: int, items: int) -> list[float]:
    """When each batch was done, by so many processes at once."""
    forget_engine()
    spawning = multiprocessing.get_context("spawn")
    ends: Queue[list[float]] = spawning.Queue()
    workers = [
        spawning.Process(target=churn, args=(items // clients, ends)) for _ in range(clients)
    ]
    for worker in workers:
        worker.start()
    found = [ends.get() for _ in workers]
    for worker in workers:
        worker.join()
    # From the moment when all of them are at work.
    began = max(each[0] for each in found)
    return sorted(end for each in found for end in each if end >= began)


def items_per_s(ends: list[float]) -> float:
    return 16 * (len(ends) - 1) / (ends[-1] - ends[0])


def fill(tenant_count: int, items: int) -> None:
    """Queue so many items of as many tenants."""
    with transaction() as session:
        session.execute(
            text("""
                INSERT INTO tenants (id, name)
                SELECT 'tenant_' || n, 'tenant ' || n FROM generate_series(1, :count) n
            """),
            {"count": tenant_count},
        )
        session.connection().exec_driver_sql(_FILL.format(each=items // tenant_count))


def milliseconds(act: Any, times: int) -> list[float]:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        found.append(1000 * (time.perf_counter() - began))
    return found


def look_at_a_job() -> None:
    with reading() as session:
        job = jobs.list_jobs(session, "tenant_7", Cursor(limit=1), jobs.Filter()).rows[0]
        looks.position(session, jobs.get(session, "tenant_7", job.id))


def waits(tenant_id: str, flood: int) -> list[float]:
    """Seconds until each of 320 items of a tenant was claimed, by one worker of 10 ms a batch."""
    if flood:
        submit(add_tenant(f"flood {time.monotonic()}"), [{}] * flood)
        finish(take())
    began = time.monotonic()
    submit(tenant_id, [{}] * 320)
    found: list[float] = []
    while len(found) < 320:
        claimed = take()
        found += [time.monotonic() - began for item in claimed.items if item.tenant_id == tenant_id]
        time.sleep(0.01)
        finish(claimed)
    empty()
    return found


def empty() -> None:
    with transaction() as session:
        session.execute(text("TRUNCATE jobs, items, queue, leases, outputs, flows CASCADE"))


def share_error() -> float:
    """Three tenants with weights 1, 2 and 5, each with work enough."""
    weights = {add_tenant(f"weight {weight}", weight): weight for weight in (1, 2, 5)}
    for tenant_id in weights:
        submit(tenant_id, [{"shape": tenant_id}] * 20_000)
    served: Counter[str] = Counter()
    while served.total() < 30_000:
        claimed = take()
        served.update(item.tenant_id for item in claimed.items)
        finish(claimed)
    empty()
    return max(
        abs(served[each] / served.total() / (weight / 8) - 1) for each, weight in weights.items()
    )


def long_churn(tenant_id: str) -> tuple[float, int]:
    """Items/s of the last fifth of the time against the first, and dead rows in the end."""
    for _ in range(CHURNED // 80_000):
        submit(tenant_id, [{}] * 80_000)
    ends = churn_by(4, CHURNED - 2000)
    fifth = (ends[-1] - ends[0]) / 5
    first = sum(end < ends[0] + fifth for end in ends)
    last = sum(end > ends[-1] - fifth for end in ends)
    return round(last / first, 3), dead_rows()


def dead_rows() -> int:
    with transaction() as session:
        session.execute(text("SELECT pg_stat_force_next_flush()"))
        return int(
            session.execute(
                text("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'queue'")
            ).scalar_one()
        )


def main() -> None:
    found: dict[str, Any] = {}
    with ledger() as tenant_id:
        others = [add_tenant(f"client {n}") for n in range(4)]
        for name, tenants_ in (("", others), ("one_job_", [tenant_id])):
            rates = {}
            for clients in (1, 2, 4):
                for each in tenants_:
                    submit(each, [{}] * (48_000 // len(tenants_)))
                rates[clients] = round(items_per_s(churn_by(clients, 40_000)))
                empty()
            found[f"claim_commit_{name}items_per_s"] = rates
        alone, flooded = waits(tenant_id, 0), waits(tenant_id, FLOOD)
        found["wait_ratio"] = round(percentile(flooded, 0.95) / percentile(alone, 0.95), 2)
        found["share_error"] = round(share_error(), 4)
        found["churn_ratio"], found["churn_dead_rows"] = long_churn(tenant_id)
        empty()
        fill(TENANTS, DEEP)
        found["claim_p50_ms"], found["claim_p99_ms"] = claims(500)
        found["status_p99_ms"] = round(percentile(milliseconds(look_at_a_job, 500), 0.99), 1)
    print(json.dumps(found))


def claims(times: int) -> tuple[float, float]:
    took = milliseconds(take, times)
    return round(percentile(took, 0.5), 1), round(percentile(took, 0.99), 1)


if __name__ == "__main__":
    main()

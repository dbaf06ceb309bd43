"""Many faults at random while several tenants work: nothing is lost and nothing is done twice.

`make chaos SECONDS=600 SEED=7` runs it for long; CI for a minute with a seed that it prints.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import text

from shared.db import transaction
from shared.services import tenants, webhooks
from shared.states import Scope
from shared.storage import FolderStorage
from tests.chaos.client import FINAL, Customer
from tests.chaos.disk import small_disk
from tests.chaos.nemesis import Nemesis, raging
from tests.chaos.report import Report, report
from tests.chaos.site import Site
from tests.chaos.soundness import all_faults, changes, watching
from tests.chaos.traffic import Traffic, flowing
from tests.ledger import add_stand_in
from tests.receiver import HERE, Receiver, answers, receiving
from tests.settings import forget_settings
from tests.waiting import until

SECONDS = float(os.environ.get("CHAOS_SECONDS") or 60)
SEED = int(os.environ.get("CHAOS_SEED") or Random().randrange(10_000))
_TENANTS = (("light", 1.0), ("heavy", 3.0), ("limited", 1.0))
_CALM_S = 180

_UNTOLD = text("SELECT count(*) FROM deliveries WHERE state <> 'delivered'")
_ENDS = text("""
    SELECT job_id, count(*) FROM events WHERE type = 'state' AND message = ANY(:final)
    GROUP BY job_id
""")


@pytest.fixture
def receiver(victim: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """One who is told of every job's end."""
    monkeypatch.setenv("ATELIER_EGRESS_ALLOW", HERE)
    forget_settings()
    with receiving(answers()) as made:
        yield made


@pytest.fixture
def traffics(victim: Site, receiver: Receiver) -> Iterator[list[Traffic]]:
    """Three tenants, each with what it wants told of."""
    with ExitStack() as stack:
        made = []
        for number, (name, weight) in enumerate(_TENANTS):
            limit = 20 if name == "limited" else None
            with transaction() as session:
                tenant = tenants.add_tenant(session, name, weight, max_running=limit)
                _, key = tenants.add_key(session, tenant.id, "test", [Scope.ADMIN])
                url = f"http://127.0.0.1:{receiver.port}/{name}"
                hook = webhooks.create(session, tenant.id, url, ["*"])
            add_stand_in(tenant.id)
            customer = stack.enter_context(Customer(victim.address, key, tenant.id))
            made.append(Traffic(customer, Random(f"{SEED} {number}"), hook.id))
        yield made


def resume_all(traffics: list[Traffic]) -> None:
    """What a tenant has paused must go on, for everything to come to an end."""
    with transaction() as session:
        paused = set(session.execute(text("SELECT id FROM jobs WHERE state = 'paused'")).scalars())
    for each in traffics:
        for job_id in paused & each.accepted.keys():
            each.customer.change(job_id, "resume")


def is_over() -> bool:
    with transaction() as session:
        states = session.execute(text("SELECT DISTINCT state FROM jobs")).scalars()
        return set(states) <= FINAL


def everybody_was_told() -> bool:
    with transaction() as session:
        return session.execute(_UNTOLD).scalar_one() == 0


def ends() -> dict[str, int]:
    """How often each job has ended; one that was retried ends again."""
    with transaction() as session:
        return {row[0]: row[1] for row in session.execute(_ENDS, {"final": list(FINAL)})}


def told_of(receiver: Receiver) -> dict[str, set[str]]:
    """The events of each job that its receiver was told of, however often it was sent each."""
    bodies: dict[str, bytes] = {}
    told = defaultdict(set)
    for headers, body in zip(receiver.headers, receiver.bodies, strict=True):
        event = json.loads(body)
        assert event["id"] == headers["webhook-id"]
        assert bodies.setdefault(event["id"], body) == body
        told[event["data"]["id"]].add(event["id"])
    return told


def survived(
    nemesis: Nemesis,
    traffics: list[Traffic],
    receiver: Receiver,
    seconds: float,
    say: Callable[[str], None],
) -> Report:
    """What came of so many seconds, once nothing of it was lost, doubled or left untold."""
    say(f"\nnemesis: {seconds:.0f} s, seed {SEED}")
    with flowing(traffics):
        nemesis.run(seconds)
    resume_all(traffics)
    until(is_over, within_s=_CALM_S)
    found = report(nemesis.site, nemesis, traffics, SEED, seconds)
    say(found.line())
    assert (found.lost, found.doubled) == (0, 0)
    assert changes() == {}

    # A receiver's retry comes after pauses; none failed but what a harm cut off.
    with transaction() as session:
        session.execute(text("UPDATE deliveries SET next_at = now() WHERE state = 'pending'"))
    until(everybody_was_told, within_s=_CALM_S)
    assert {job: len(events) for job, events in told_of(receiver).items()} == ends()
    assert ends().keys() >= set().union(*(each.accepted for each in traffics))

    asked = sum((each.changes for each in traffics), Counter())
    assert {status for _, status in asked} <= {200, 409, 429, 503, None}, asked
    return found


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Tells whoever waits."""

    def tell(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    return tell


@pytest.mark.timeout(SECONDS + 2 * _CALM_S + 60)
def test_whatever_happens_nothing_is_lost_and_nothing_is_done_twice(
    victim: Site, traffics: list[Traffic], receiver: Receiver, say: Callable[[str], None]
) -> None:
    with watching(), raging(victim, SEED) as nemesis:
        found = survived(nemesis, traffics, receiver, SECONDS, say)

    assert all_faults(victim) == {}
    assert found.accepted > SECONDS * 10, "there was work to be lost"
    assert found.cancelled > 0
    assert found.kinds >= min(8, found.harms)


@pytest.mark.timeout(SECONDS + 2 * _CALM_S + 60)
def test_nothing_is_lost_though_the_disk_that_is_the_storage_is_full_now_and_then(
    victim: Site,
    traffics: list[Traffic],
    receiver: Receiver,
    say: Callable[[str], None],
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", "128m") as disk, watching():
        victim.disk = disk
        with raging(victim, SEED) as nemesis:
            # For longer, the disk would have to be larger.
            survived(nemesis, traffics, receiver, min(SECONDS / 2, 60), say)

        assert nemesis.done["fill_the_disk"] > 0
        assert all_faults(FolderStorage(disk.seen)) == {}

"""What came of a run of the nemesis."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import text

from shared.db import transaction
from tests.chaos.nemesis import Nemesis
from tests.chaos.site import Site
from tests.chaos.traffic import Traffic

_STATES = text("SELECT state, count(*) FROM items WHERE step = 'run' GROUP BY state")
_KNOWN = text("SELECT id, total FROM jobs")
_TWICE = text("""
    SELECT count(*) FROM (SELECT item_id FROM watched WHERE became = 'done'
        GROUP BY item_id HAVING count(*) > 1) again
""")
_NEXT_DONE = text("""
    SELECT extract(epoch FROM min(at) - :after) FROM watched WHERE became = 'done' AND at > :after
""")
FENCED = "was lost; its work is dropped"
"""How a worker tells that a commit of its was refused."""


@dataclass(frozen=True)
class Report:
    """Items, unless it says otherwise."""

    seed: int
    seconds: float
    harms: int
    kinds: int
    jobs: int
    accepted: int
    done: int
    failed: int
    cancelled: int
    lost: int
    doubled: int
    fenced: int
    """Commits that came too late."""
    recovery_s: float
    """From the end of a harm until the next item is done: the median and the longest."""
    longest_recovery_s: float
    deliveries: int

    def line(self) -> str:
        return json.dumps({"nemesis": asdict(self)})


def report(
    site: Site, nemesis: Nemesis, traffics: Sequence[Traffic], seed: int, seconds: float
) -> Report:
    """Count what became of everything that was accepted."""
    accepted = {job: count for each in traffics for job, count in each.accepted.items()}
    with transaction() as session:
        states = {row[0]: row[1] for row in session.execute(_STATES)}
        known = {row[0]: row[1] for row in session.execute(_KNOWN)}
        doubled = session.execute(_TWICE).scalar_one()
        events = session.execute(text("SELECT count(*) FROM deliveries")).scalar_one()
    waits = recoveries([moment for _, moment in nemesis.mended])
    ended = sum(states.get(state, 0) for state in ("done", "failed", "cancelled"))
    return Report(
        seed=seed,
        seconds=round(seconds, 1),
        harms=nemesis.done.total(),
        kinds=len(nemesis.done),
        jobs=len(known),
        accepted=sum(known.values()),
        done=states.get("done", 0),
        failed=states.get("failed", 0),
        cancelled=states.get("cancelled", 0),
        lost=sum(accepted.values())
        - sum(count for job, count in accepted.items() if known.get(job) == count)
        + (sum(known.values()) - ended),
        doubled=doubled,
        fenced=fenced(site.folder),
        recovery_s=round(median(waits), 2) if waits else 0.0,
        longest_recovery_s=round(max(waits), 2) if waits else 0.0,
        deliveries=events,
    )


def recoveries(moments: Sequence[datetime]) -> list[float]:
    """Seconds from each moment until the next item was done, where one was."""
    with transaction() as session:
        found: list[Any] = [
            session.execute(_NEXT_DONE, {"after": moment}).scalar() for moment in moments
        ]
    return [float(seconds) for seconds in found if seconds is not None]


def fenced(logs: Path) -> int:
    """Commits that workers say were refused."""
    return sum(log.read_text(errors="replace").count(FENCED) for log in logs.glob("worker*"))

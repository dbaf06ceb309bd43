"""The doctor's looks at the work: who serves which lane, what tables gather, the ledger."""

from sqlalchemy import text

from api.doctor.faults import Fault, looking
from shared.services import workers as serving
from shared.services.ledger.invariants import INVARIANTS, violations
from shared.settings import settings
from shared.states import Lane

_TOLERATED_DEAD_ROWS = 200_000
"""Beside as many as there are live ones. Autovacuum looks once a minute, and a minute at full speed
leaves a few rows dead for each of some thousand items a second; more than that is not cleared away.
"""
_DEAD_ROWS = text("""
    SELECT relname, n_dead_tup FROM pg_stat_user_tables
    WHERE relname IN ('queue', 'items', 'jobs', 'flows', 'leases')
        AND n_dead_tup > :tolerated + n_live_tup
    ORDER BY n_dead_tup DESC
""")


def workers() -> str:
    with looking() as session:
        served = {lane for worker in serving.alive(session) for lane in worker.lanes}
    idle = [str(lane) for lane in Lane if lane not in served]
    if idle:
        raise Fault(
            f"no worker serves {', '.join(idle)}: start one (celery -A worker.app worker -Q "
            f"{','.join(idle)}), or see in its log why it ended"
        )
    return "every lane has one"


def growth() -> str:
    with looking() as session:
        dead = session.execute(_DEAD_ROWS, {"tolerated": _TOLERATED_DEAD_ROWS}).all()
    if dead:
        table, count = dead[0]
        raise Fault(
            f"{count} dead rows in {table} wait for autovacuum: look for a transaction that is "
            "held open (SELECT * FROM pg_stat_activity ORDER BY xact_start)"
        )
    return "dead rows are few"


def ledger() -> str:
    """Every invariant: on a large installation this reads for minutes."""
    with looking() as session:
        found = violations(session, settings().max_attempts, settings().max_crashes)
    if found:
        invariant, rows = next(iter(found.items()))
        raise Fault(
            f"does not hold: {invariant} (for example {rows[0]}; {len(found)} in all). Stop the "
            "workers, keep a dump of the database and report it"
        )
    return f"all of its {len(INVARIANTS)} invariants hold"

"""`atelier doctor`: what an installation rests on, looked at piece by piece."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from api.doctor import engines, machine, work
from shared.errors import AtelierError

LOOKS: dict[str, Callable[[], str]] = {
    "packages": machine.packages,
    "disk": machine.disk,
    "database": engines.database,
    "wall": engines.wall,
    "clock": engines.clock,
    "redis": engines.redis,
    "storage": engines.storage,
    "workers": work.workers,
    "gpu": machine.gpu,
    "growth": work.growth,
    "ledger": work.ledger,
}
"""In the order in which one rests on the other. A look says what it found well, or raises what is
amiss together with its remedy.
"""


@dataclass(frozen=True)
class Finding:
    """What one look found."""

    what: str
    ok: bool
    told: str


def examine() -> Iterator[Finding]:
    """Look at everything; a fault in one thing keeps nobody from looking at the next."""
    yield from map(look_at, LOOKS)


def look_at(what: str) -> Finding:
    """Look at one thing."""
    try:
        return Finding(what, True, LOOKS[what]())
    except AtelierError as error:
        return Finding(what, False, error.message)

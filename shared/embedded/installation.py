"""The programs of one installation: API, workers, sweeper; what `atelier up` runs beside the
engines.
"""

import os
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.db import transaction
from shared.embedded.process import Program
from shared.services import workers
from shared.states import Lane

GENERATION_LANES = (Lane.TEXT, Lane.IMAGE, Lane.AUDIO, Lane.VIDEO)
_TRAINING_NICE = 10
"""Training yields the processor to generation: it runs for minutes, others wait for seconds."""
_WORKER_GRACE_S = 30.0
_API_GRACE_S = 15.0
"""More than gunicorn's own patience with requests in flight."""


@dataclass(frozen=True)
class Place:
    """Where an installation runs and writes."""

    host: str
    port: int
    logs: Path
    env: Mapping[str, str]


def programs(place: Place, cores: int | None = None) -> list[Program]:
    """Everything that runs beside the engines, in the order of starting."""
    cores = cores or os.cpu_count() or 1
    return [
        _api(place),
        _worker(place, "generation", GENERATION_LANES, threads=cores),
        _worker(
            place,
            "training",
            [Lane.TRAINING],
            threads=training_threads(cores),
            nice=_TRAINING_NICE,
        ),
        _worker(place, "light", [Lane.LIGHT], threads=1),
        _program(place, "sweeper", ["-m", "worker.sweeper"]),
    ]


def _api(place: Place) -> Program:
    argv = ["-m", "gunicorn", "--config", "python:api.server"]
    argv += ["--bind", f"{place.host}:{place.port}"]
    address = f"http://{place.host}:{place.port}/api/v1/health/ready"
    return _program(place, "api", argv, grace_s=_API_GRACE_S, ready=lambda: _answers(address))


def training_threads(cores: int) -> int:
    """All cores but one, which is left to what people wait for; but two, where there are two: half
    the machine would mean half the training, and its priority yields them when they are needed.
    """
    return min(cores, max(2, cores - 1))


def _worker(place: Place, name: str, lanes: Sequence[Lane], threads: int, nice: int = 0) -> Program:
    """`threads` of torch and its libraries."""
    argv = ["-m", "celery", "-A", "worker.app", "worker", "-Q", ",".join(lanes)]
    # One process per machine and lane: what gossip and mingle would tell, the ledger knows.
    argv += ["-n", f"{name}@%h", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    count = str(threads)
    env = {"ATELIER_THREADS": count, "OMP_NUM_THREADS": count} | dict(place.env)
    return Program(
        name,
        [sys.executable, *argv],
        env,
        grace_s=_WORKER_GRACE_S,
        nice=nice,
        ready=lambda: _serves(lanes[0]),
        log=place.logs / f"{name}.log",
    )


def _program(place: Place, name: str, argv: Sequence[str], **options: object) -> Program:
    log = place.logs / f"{name}.log"
    return Program(name, [sys.executable, *argv], place.env, log=log, **options)  # type: ignore[arg-type]


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=0.9) as answer:  # noqa: S310 - our own
            return bool(answer.status == 200)
    except OSError:
        return False


def _serves(lane: Lane) -> bool:
    """Whether a worker of the lane has reported itself lately."""
    with transaction() as session:
        return any(lane in worker.lanes for worker in workers.alive(session))

"""Waiting for a job to end, with its progress on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from api.client.http import Api, Json, job_path
from api.client.showing import counts, ended, tell
from shared.states import FINAL_JOB_STATES, JobState

_SHORTEST_S, _LONGEST_S = 0.5, 10.0
_SHARE = 20
"""A pause is this fraction of the wait so far: the end is noticed at most a twentieth late."""
_BAR_STEPS = 1000


def has_ended(job: Json) -> bool:
    return job["state"] in FINAL_JOB_STATES


def succeeded(job: Json) -> bool:
    return job["state"] == JobState.SUCCEEDED


def pause(began: float) -> None:
    """Wait before looking again; the longer the wait so far, the longer."""
    time.sleep(min(_LONGEST_S, max(_SHORTEST_S, (time.monotonic() - began) / _SHARE)))


def wait(api: Api, job_id: str) -> Json:
    """Poll a job to its end; returns it. Ctrl-C leaves it running and says how to look at it."""
    began = time.monotonic()
    try:
        with _progress() as show:
            while True:
                job = api.get(job_path(job_id))
                show(job)
                if has_ended(job):
                    break
                pause(began)
    except KeyboardInterrupt:
        tell(f"{job_id} goes on: see `atelier status {job_id}`, `atelier cancel {job_id}`")
        raise
    tell(f"{job_id} {job['state']}: {counts(job)}")
    if job["error"]:
        tell(job["error"]["message"])
    return job


Show = Callable[[Json], None]


@contextmanager
def _progress() -> Iterator[Show]:
    """Something that shows a job as it stands: a bar on a terminal, elsewhere a line per change."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    with click.progressbar(length=_BAR_STEPS, file=sys.stderr, show_eta=False, width=0) as bar:

        def show(job: Json) -> None:
            bar.label = _standing(job)
            bar.update(int(job["progress"] * _BAR_STEPS) - bar.pos)
            bar.render_progress()

        yield show


def _lines() -> Show:
    said: list[str] = []

    def show(job: Json) -> None:
        line = _standing(job)
        if said[-1:] != [line]:
            said.append(line)
            tell(line)

    return show


def _standing(job: Json) -> str:
    return f"{job['state']} {ended(job)}/{job['counts']['total']}"

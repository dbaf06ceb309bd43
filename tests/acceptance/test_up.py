"""`atelier up` under fire: what of it is killed comes back, and when it ends nothing is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import psutil
import pytest

from api.demo.client import JobFailed
from tests.benchmarks.installation import Installation, installation
from tests.ledger import add_stand_in
from tests.waiting import until

PROGRAMS = ("gunicorn", "generation@%h", "training@%h", "light@%h", "worker.sweeper")
ENGINES = ("postgres", "valkey-server")


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    with installation(
        ATELIER_FAMILIES="tests.families.stand_in", ATELIER_LEASE_SECONDS="20"
    ) as running:
        add_stand_in(running.tenant_id)
        yield running


def running(site: Installation, word: str) -> list[psutil.Process]:
    """The processes of the installation in whose command a word occurs; the eldest is first."""
    family = psutil.Process(site.process.pid).children(recursive=True)
    found = []
    for process in family:
        try:
            if any(word in part for part in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return sorted(found, key=lambda process: process.create_time())


def works(site: Installation) -> bool:
    """Whether a job runs from end to end."""
    try:
        body = {"kind": "generation", "model": "stand-in", "items": [{"params": {}}]}
        job = site.client.post("/api/v1/jobs", body)
        site.client.wait(job["id"], lambda _: None)
    except (JobFailed, httpx.HTTPError):
        return False
    return True


@pytest.mark.parametrize("word", [*PROGRAMS, *ENGINES])
def test_what_is_killed_comes_back_and_jobs_run_again(site: Installation, word: str) -> None:
    killed = running(site, word)
    assert killed, f"{word} runs"

    os.kill(killed[0].pid, signal.SIGKILL)

    until(lambda: came_back(site, word, killed) and works(site), within_s=90)


def came_back(site: Installation, word: str, killed: list[psutil.Process]) -> bool:
    return any(process.pid != killed[0].pid for process in running(site, word))


def test_a_second_start_on_the_same_home_is_refused_and_the_first_stays_in_reach(
    site: Installation,
) -> None:
    first = psutil.Process(site.process.pid)
    environment = first.environ()
    second = psutil.Popen(
        first.cmdline(),
        env={**environment, "ATELIER_PORT": "1"},
        stderr=-1,
        text=True,
    )
    _, said = second.communicate(timeout=60)

    assert second.returncode == 1
    assert str(site.process.pid) in said
    command = [sys.executable, "-m", "api", "lane", "resume", "image"]
    subprocess.run(command, env=environment, check=True)


def test_when_it_is_told_to_end_no_process_is_left() -> None:
    with installation() as ending:
        family = psutil.Process(ending.process.pid).children(recursive=True)
        assert len(family) >= 10
        ending.process.send_signal(signal.SIGINT)
        ending.process.wait(timeout=60)
        _, alive = psutil.wait_procs(family, timeout=5)

    assert alive == []
    assert ending.process.returncode == 0

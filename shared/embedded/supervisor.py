"""Keeps a group of programs running: starts them, brings back what dies, stops them together."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from shared.embedded import guardian as guardian_file
from shared.embedded.console import say
from shared.embedded.errors import ProgramFailed
from shared.embedded.process import Process, Program, stop_all
from shared.embedded.stopping import StopRequest

POLL_S = 0.05
# A program that lived this long died of something new, not of how it was started.
STEADY_S = 10.0
LONGEST_DELAY_S = 30.0
# Before the group is ready: so many deaths of one program mean that it cannot start here.
DEATHS_BEFORE_READY = 3
READY_LIMIT_S = 600.0


class Watch:
    """One process, its deaths, and when it is to be started again."""

    def __init__(self, process: Process):
        self.process = process
        self.quick_deaths = 0
        self._due_at: float | None = None

    def tend(self) -> None:
        """Start the process again when it has ended and its delay is over."""
        status = self.process.ended()
        if status is None:
            return

        now = time.monotonic()
        if self._due_at is None:
            self._due_at = now + self._delay_after_death(now - self.process.started_at, status)
        if now >= self._due_at:
            self._start(now)

    def _start(self, now: float) -> None:
        try:
            self.process.start()
        except OSError as error:  # no memory, no more processes, no log: it may pass
            say(f"{self.process} cannot be started: {error}; trying again")
            self._due_at = now + LONGEST_DELAY_S
        else:
            self._due_at = None

    def _delay_after_death(self, lived_s: float, status: int) -> float:
        """Nothing after the first death, then 1 s, doubling to 30 s while deaths come quickly."""
        self.quick_deaths = self.quick_deaths + 1 if lived_s < STEADY_S else 1
        delay_s = 0.0
        if self.quick_deaths > 1:
            delay_s = min(2.0 ** (self.quick_deaths - 2), LONGEST_DELAY_S)

        when = f"in {delay_s:.0f} s" if delay_s else "now"
        disk_full = "No space left on device" in self.process.log_tail()
        why = " because the disk is full" if disk_full else ""
        say(f"{self.process} {in_words(status)}{why}; starting it again {when}")
        return delay_s


class Guardian:
    """The process beside us that stops the group should we be killed; see `guardian.py`."""

    def __init__(self, run: Path):
        self._run = run

    def __enter__(self) -> "Guardian":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._child.communicate()  # closes its input: it finds nothing to stop, and ends

    def tend(self) -> None:
        if self._child.poll() is not None:
            self._child.communicate()
            self._start()

    def _start(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian_file.__file__, str(self._run)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def supervise(
    programs: Sequence[Program],
    run: Path,
    *,
    stop: StopRequest,
    guardian: Guardian,
    engines: Sequence[Process] = (),
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Run the programs until a stop is asked for, and stop them; none is left.

    The engines run already: they are brought back like the others, but stay when this returns.
    `on_ready` is called once, when every program is ready. Raises ProgramFailed when one cannot
    start.
    """
    watches = [Watch(engine) for engine in engines]
    processes = [Process(program, run) for program in programs]
    try:
        for process in processes:
            process.start()
            watches.append(Watch(process))
        _watch(watches, stop, guardian, on_ready)
        say("stopping")
    finally:
        for name in stop_all(processes, hurry=stop.impatient):
            say(f"{name} did not stop in time and was killed")


def _watch(
    watches: Sequence[Watch],
    stop: StopRequest,
    guardian: Guardian,
    on_ready: Callable[[], None],
) -> None:
    announced = False
    deadline = time.monotonic() + READY_LIMIT_S

    while not stop.asked():
        guardian.tend()
        for watch in watches:
            watch.tend()
            if not announced and watch.quick_deaths >= DEATHS_BEFORE_READY:
                raise ProgramFailed(_told(watch.process, "stopped again and again"))

        if not announced:
            late = [watch.process for watch in watches if not watch.process.is_ready()]
            if not late:
                announced = True
                on_ready()
            elif time.monotonic() > deadline:
                raise ProgramFailed(_told(late[0], f"was not ready after {READY_LIMIT_S:.0f} s"))
        time.sleep(POLL_S)


def _told(process: Process, what: str) -> str:
    log = process.program.log
    where = f"Its log, {log}, ends:\n{process.log_tail()}" if log else "Its messages are above."
    return f"{process} {what}. {where}"


def in_words(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"

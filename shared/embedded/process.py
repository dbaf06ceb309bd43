"""One program of the group: how it is described, started, looked at and stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shared.embedded import guardian, leash
from shared.embedded.accounts import Account

# A program that cannot be asked whether it is ready, yet lives after this, is taken to be so.
SETTLED_S = 1.0
LOG_LIMIT_BYTES = 16 * 1024**2


@dataclass(frozen=True)
class Program:
    """What to run.

    `ready` is polled until it is true; keep it under a second. Without it, a program that lives
    for `SETTLED_S` is ready. `grace_s` is the time between `stop_signal` and SIGKILL. Output goes
    to `log`, or where the supervisor's own goes. `sweep` runs whenever the program has ended, to
    end what escaped its process group.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    grace_s: float = 10.0
    nice: int = 0
    ready: Callable[[], bool] | None = None
    log: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    account: Account | None = None
    sweep: Callable[[], None] | None = None


class Process:
    """A program's current process, the leader of a session and process group of its own.

    Start it from a thread that lives on: Linux ends the program together with that thread.
    """

    def __init__(self, program: Program, run: Path):
        self.program = program
        self._run = run
        self._child: subprocess.Popen[bytes] | None = None
        self._note: Path | None = None
        self._log_start = 0
        self._was_ready = False
        self.started_at = 0.0

    def __str__(self) -> str:
        return self.program.name

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        self._was_ready = False
        output = self._open_log()
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", leash.__file__, *self._leash(), *self.program.argv],
                env=dict(self.program.env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            if output is not None:
                os.close(output)
        self.started_at = time.monotonic()
        self._write_note(self._child.pid)

    def _write_note(self, pid: int) -> None:
        program = self.program
        # On a full disk it stays unwritten: what it is for comes after a second mishap.
        with suppress(OSError):
            self._note = guardian.write_note(
                self._run, program.name, pid, program.stop_signal, program.grace_s
            )

    def _leash(self) -> list[str]:
        account = self.program.account
        uid, gid = ("-", "-") if account is None else (str(account.uid), str(account.gid))
        ending = str(int(self.program.stop_signal))
        return [str(os.getpid()), ending, str(self.program.nice), uid, gid]

    def _open_log(self) -> int | None:
        log = self.program.log
        if log is None:
            return None

        with suppress(FileNotFoundError):
            if log.stat().st_size > LOG_LIMIT_BYTES:
                log.replace(log.with_suffix(".log.1"))
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._log_start = os.fstat(descriptor).st_size
        return descriptor

    def log_tail(self, lines: int = 12) -> str:
        """The last lines that this start wrote to the log; empty without a log."""
        if self.program.log is None:
            return ""
        with self.program.log.open("rb") as log:
            log.seek(self._log_start)
            text = log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def ended(self) -> int | None:
        """The exit status (negative: the signal) once the leader has ended, else None.

        What the leader left of its group is killed before the system may give its number away.
        """
        if self._child is None:
            return None
        if self._child.returncode is None:
            if not _has_ended(self._child):
                return None
            self._clear(self._child)
        return self._child.returncode

    def is_ready(self) -> bool:
        """Whether the program runs and its `ready` has been true since this start."""
        if self.ended() is not None:
            return False
        ready = self.program.ready
        if not self._was_ready:
            self._was_ready = self._settled() if ready is None else ready()
        return self._was_ready

    def _settled(self) -> bool:
        return time.monotonic() - self.started_at >= SETTLED_S

    def ask_to_stop(self) -> None:
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(self.program.stop_signal)

    def kill(self) -> None:
        """End the whole group at once."""
        if self._child is not None and self._child.returncode is None:
            self._clear(self._child)

    def _clear(self, child: subprocess.Popen[bytes]) -> None:
        # macOS answers EPERM for a group in which only zombies are left.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if self._note is not None:
            self._note.unlink(missing_ok=True)
        if self.program.sweep is not None:
            self.program.sweep()


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return child.poll() is not None
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def stop_all(
    processes: Sequence[Process], *, hurry: Callable[[], bool] = lambda: False
) -> list[str]:
    """Stop the processes, the last one first; returns the names of those that had to be killed.

    All are asked before any is waited for, so that this takes as long as the longest grace.
    `hurry` is polled; once it is true, nothing more is waited for.
    """
    waiting = list(reversed(processes))
    for process in waiting:
        process.ask_to_stop()

    asked_at = time.monotonic()
    killed = []
    while waiting := [one for one in waiting if one.pid is not None and one.ended() is None]:
        for process in waiting:
            if hurry() or time.monotonic() - asked_at >= process.program.grace_s:
                process.kill()
                killed.append(str(process))
        time.sleep(0.02)
    return killed

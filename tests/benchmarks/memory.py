"""How much memory the processes of an installation have taken."""

from pathlib import Path

import psutil

from tests.benchmarks.installation import Installation

API = "gunicorn"
WORKERS = "@%h"


def peaks(on: Installation, word: str) -> int:
    """The most memory, in bytes, that its processes with this word in their commands have taken so
    far, together.
    """
    children = psutil.Process(on.process.pid).children(recursive=True)
    chosen = [child for child in children if word in " ".join(child.cmdline())]
    assert len(chosen) >= 2
    return sum(_peak(process.pid) for process in chosen)


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("this kernel does not say what a process has taken")

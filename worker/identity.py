"""Who this worker is, and whether it is to end.

Set in the parent process; the child that computes is forked from it.
"""

import os
from mmap import mmap

from shared.settings import settings
from shared.states import Lane

name = f"{settings().worker_name}:{os.getpid()}"
lanes: list[Lane] = []

_ending = mmap(-1, 1)
"""Memory that a parent shares with its child: no claim of the child's can slip past it."""


def end() -> None:
    """Have the child claim nothing more, and finish or release what it holds."""
    _ending[0] = 1


def is_ending() -> bool:
    return bool(_ending[0])

"""Who this worker is.

Set in the parent process, before the child that computes is forked from it.
"""

import os

from shared.settings import settings
from shared.states import Lane

name = f"{settings().worker_name}:{os.getpid()}"
lanes: list[Lane] = []

"""Named fail points: places in the code at which a test has a program killed, with its children, or
sent another signal that FAIL_SIGNAL names.

Python imports this file at the start of every process that has its folder on PYTHONPATH, and it
does nothing without FAIL_POINT. The code itself knows nothing of it. FAIL_ONCE names a file: the
first process that can make it is struck, and no other.
"""

import ctypes
import gc
import importlib.machinery
import os
import signal
import sys
import time
from datetime import datetime, timedelta
from functools import wraps

POINTS = {
    "claimed": ("worker.runner", "_Turn._claim", "after"),
    "before put": ("worker.media", "Encoded.store", "before"),
    "after put": ("worker.media", "Encoded.store", "after"),
    "before commit": ("worker.writing", "_write_once", "before"),
    "after commit": ("worker.writing", "_write_once", "after"),
    "before accept": ("api.creates", "once", "before"),
    "after accept": ("api.creates", "hint", "before"),
    "requeued": ("shared.queues", "hint", "before"),
}
"""Where each point is: a module, a function in it, and on which side of a call."""


def strike():
    marker = os.environ.get("FAIL_ONCE")
    if marker:
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    os.killpg(0, signal.Signals[os.environ.get("FAIL_SIGNAL", "SIGKILL")])


def struck(function, side):
    @wraps(function)
    def call(*arguments, **options):
        if side == "before":
            strike()
        answer = function(*arguments, **options)
        if side == "after":
            strike()
        return answer

    return call


def arm(module, path, side):
    *owners, name = path.split(".")
    owner = module
    for each in owners:
        owner = getattr(owner, each)
    setattr(owner, name, struck(getattr(owner, name), side))


class Arming:
    """Finds the module of the point as everybody does, and arms it once it is loaded."""

    def __init__(self, module, path, side):
        self.module, self.path, self.side = module, path, side

    def find_spec(self, name, path=None, target=None):
        if name != self.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            arm(module, self.path, self.side)

        spec.loader.exec_module = exec_module
        return spec


def skew(seconds):
    """Have this process's clock go wrong, as a machine's may."""
    real_time, real_now = time.time, datetime.now

    def now(cls, tz=None):
        return real_now(tz) + timedelta(seconds=seconds)

    time.time = lambda: real_time() + seconds
    # The class itself must stay: what others make of it would be no datetime any more. Python keeps
    # a built-in class from being changed, though not the dictionary that it is made of.
    (members,) = gc.get_referents(datetime.__dict__)
    members["now"] = classmethod(now)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime))


if os.environ.get("FAIL_POINT"):
    sys.meta_path.insert(0, Arming(*POINTS[os.environ["FAIL_POINT"]]))
if os.environ.get("CLOCK_SKEW_S"):
    skew(float(os.environ["CLOCK_SKEW_S"]))

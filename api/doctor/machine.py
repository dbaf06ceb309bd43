"""The doctor's looks at this machine: packages, disk, and the device that models run on."""

import shutil
import subprocess
import sys
from importlib.util import find_spec

from api.doctor.faults import Fault, remedied
from shared.settings import settings

_LITTLE_BYTES = 2 * 1024**3


def packages() -> str:
    missing = [name for name in ("torch", "transformers", "safetensors") if not find_spec(name)]
    if missing:
        raise Fault(f"{missing[0]} is missing: pip install '.[worker]' where workers run")
    return "those of the workers are installed"


def disk() -> str:
    with remedied("make the folder, or set ATELIER_HOME to another", OSError):
        free = shutil.disk_usage(settings().home).free
    if free < _LITTLE_BYTES:
        raise Fault(f"{free >> 20} MiB are free in {settings().home}; make room")
    return f"{free >> 30} GiB are free in {settings().home}"


def gpu() -> str:
    # In a process of its own: torch is the workers' alone.
    ask = "from worker.device import describe, pick_device; print(describe(pick_device()))"
    asked = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        told = asked.stderr.strip() or f"exit code {asked.returncode}"
        raise Fault(
            f"workers cannot tell their device: {told.splitlines()[-1]}; install torch anew, in "
            "the build for this machine's driver"
        )
    if asked.stdout.startswith("cpu") and shutil.which("nvidia-smi"):
        raise Fault("there is one, and torch does not see it: install a CUDA build of torch")
    return f"models run on {asked.stdout.strip()}"

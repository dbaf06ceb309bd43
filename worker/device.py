"""The device a worker computes on, and how it is set up."""

import torch

from shared.settings import settings


def pick_device() -> torch.device:
    """The GPU if there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prepare_torch() -> None:
    """Set threads by the settings. To be called once, in the process that computes."""
    threads = settings().threads
    if threads is not None:
        torch.set_num_threads(threads)


def describe(device: torch.device) -> str:
    """What a record says of the device: the GPU's name, or the processor and its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu x{torch.get_num_threads()} ({torch.backends.cpu.get_cpu_capability()})"

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


def fast_precision(device: torch.device) -> torch.autocast:
    """bfloat16 where the device computes in it; elsewhere it would be emulated, and slower."""
    fast = (
        torch.cuda.is_bf16_supported(including_emulation=False)
        if device.type == "cuda"
        else torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    # No cache: within a step a network's weights may change between two uses.
    return torch.autocast(device.type, torch.bfloat16, enabled=fast, cache_enabled=False)


_NO_ROOM = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")
"""What errors of torch say that are no OutOfMemoryError: those of its CPU allocator, of a library
that sets itself up, of CUDA itself.
"""


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or this machine, had no room for what was to be computed."""
    if isinstance(error, RuntimeError):
        return any(told in str(error) for told in _NO_ROOM)
    return isinstance(error, MemoryError)


def give_back_memory(device: torch.device) -> None:
    """Let other processes have what torch keeps of a GPU's memory though nothing lies in it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()

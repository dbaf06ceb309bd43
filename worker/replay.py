"""A computation that is made again and again on tensors of the same shapes: on a GPU, as one piece.

To start the kernels of a small network one by one takes longer than the GPU needs to run them. A
CUDA graph remembers them, and starts them all at once.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


class Replayed(Generic[Result]):
    """Calls `compute` with the tensors that it is called with, on the device, and gives its result.

    On a GPU the first call is made as it is, so that libraries set themselves up; the second is
    recorded, and it and all others are replayed, into the same result. What is not `fixed`, because
    it decides in Python by values on the device, is never replayed. Let `compute` hold no reference
    to whoever holds this: the memory of a record is to be free as soon as nobody needs it.
    """

    def __init__(self, compute: Callable[..., Result], device: torch.device, *, fixed: bool = True):
        self._compute = compute
        self._device = device
        self._is_replayed = fixed and device.type == "cuda"
        self._given: list[Tensor] | None = None
        """Where a record looks for what it is given."""
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Result

    def __call__(self, *given: Tensor) -> Result:
        if not self._is_replayed:
            return self._compute(*(tensor.to(self._device) for tensor in given))
        if self._given is None:
            self._given = [tensor.to(self._device, copy=True) for tensor in given]
            return self._compute(*self._given)
        for own, tensor in zip(self._given, given, strict=True):
            own.copy_(tensor)
        if self._graph is None:
            self._graph = self._recorded(self._given)
        self._graph.replay()
        return self._result

    def _recorded(self, given: list[Tensor]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # Other threads of the process may use the GPU meanwhile.
        with _uncollected(), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._result = self._compute(*given)
        return graph


@contextmanager
def _uncollected() -> Iterator[None]:
    """Nothing is collected meanwhile: to free what lies on a GPU would break off a record."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()

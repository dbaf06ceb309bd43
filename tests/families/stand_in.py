"""A family without a model, for tests and benchmarks of everything around models."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from shared.errors import Invalid
from shared.family import Family, GenerationParams
from shared.states import Modality
from tests.families.weightless import Weightless


class StandInParams(GenerationParams):
    """What the stand-in should do with the item."""

    seconds: float = Field(0.0, ge=0, le=60, description="Time it takes, without the processor.")
    fault: str | None = Field(
        None, description="`raise`, `refuse`, `exit`, `memory` or `once:<file>`."
    )
    shape: str = Field("", description="Items of different shapes share no batch.")

    def check(self, config: Mapping[str, Any]) -> None:
        if self.seconds > config.get("longest", 60):
            raise Invalid("seconds: too long for this model", param="seconds")

    def batch_shape(self) -> str:
        return self.shape


_FITS = 4
"""Requests for which the memory suffices, where one of them has the fault `memory`."""


class StandIn(Weightless):
    """Says its seed, after the time it was asked to take."""

    def generate(self, loaded: Any, requests: Sequence[Any], run: Any) -> Iterator[Any]:
        from worker.family import Part, Refusal, Text

        if len(requests) > _FITS and any(one.params.fault == "memory" for one in requests):
            raise MemoryError("asked to run out of memory")
        for position, request in enumerate(requests):
            params = request.params
            ends_at = time.monotonic() + params.seconds
            while (left := ends_at - time.monotonic()) > 0:
                if run.should_stop():
                    return
                time.sleep(min(left, 0.02))
            if params.fault == "refuse":
                yield Refusal(position, Invalid("seed: refused", param="seed"))
                continue
            _misbehave(params.fault)
            for index in range(params.n):
                seed = params.seed + index
                yield Part(position, index, Text(f"seed {seed}"), seed, {"finish_reason": "stop"})


def _misbehave(fault: str | None) -> None:
    if fault == "raise":
        raise RuntimeError("asked to raise")
    if fault == "exit":
        os._exit(9)
    if fault and fault.startswith("once:"):
        marker = Path(fault.removeprefix("once:"))
        if not marker.exists():
            marker.touch()
            raise RuntimeError("asked to raise once")


FAMILY = Family(
    name="stand_in",
    modality=Modality.TEXT,
    summary="A family without a model, for tests.",
    generation=StandInParams,
    training=None,
    implementation="tests.families.stand_in:StandIn",
)

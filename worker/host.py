"""What a worker process holds between items: its device, its models, its leases."""

import logging
from functools import cache, cached_property
from typing import TYPE_CHECKING

from shared.db import transaction
from shared.services import workers
from shared.settings import settings
from worker import identity
from worker.lease import Keeper

if TYPE_CHECKING:
    import torch

    from worker.registry import Models

log = logging.getLogger(__name__)


class Host:
    """One per process. Torch enters with the device, so that lane `light` runs without it."""

    def __init__(self) -> None:
        self.name = identity.name
        self.keeper = Keeper(self._report)

    @cached_property
    def device(self) -> "torch.device":
        from worker.device import pick_device, prepare_torch

        prepare_torch()
        return pick_device()

    @cached_property
    def models(self) -> "Models":
        from worker.registry import Models

        return Models(self.device, settings().model_memory)

    @property
    def warm(self) -> list[str]:
        """The model versions that it holds in memory."""
        return self.models.versions() if "models" in self.__dict__ else []

    @property
    def device_name(self) -> str:
        """What the dashboard and records say of the device; `none` before it was needed."""
        if "device" not in self.__dict__:
            return "none"
        from worker.device import describe

        return describe(self.device)

    def give_back_memory(self) -> None:
        """After long work: other processes share a GPU with this one."""
        if "device" in self.__dict__:
            from worker.device import give_back_memory

            give_back_memory(self.device)

    def make_room(self, error: Exception) -> None:
        """Where long work found no memory, its next attempt has that of the models, too."""
        if "models" in self.__dict__:
            from worker.device import is_out_of_memory

            if is_out_of_memory(error):
                log.warning("long work found no memory; the models leave it")
                self.models.clear()

    def _report(self) -> None:
        held = self.models.names() if "models" in self.__dict__ else []
        with transaction() as session:
            workers.report(session, self.name, identity.lanes, self.device_name, held)


@cache
def host() -> Host:
    """This process's host; made in the process that computes, never before the fork."""
    made = Host()
    made.keeper.start()
    return made

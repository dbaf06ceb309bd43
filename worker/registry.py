"""The models a worker holds in memory: loaded once, least recently used out first."""

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from importlib import import_module
from traceback import clear_frames

import torch

from shared import catalog
from shared.db import transaction
from shared.family import Family
from shared.services import models
from worker.cache import fetch
from worker.device import give_back_memory, is_out_of_memory
from worker.family import Implementation, Loaded

log = logging.getLogger(__name__)


def implementation(family: Family) -> Implementation:
    """The worker's half of a family."""
    module, _, name = family.implementation.partition(":")
    return getattr(import_module(module), name)()


@dataclass(frozen=True)
class Ready:
    """A model version in memory, with what its outputs' records say of it."""

    version_id: str
    name: str
    """`digits@3`"""
    weights_hash: str
    family: Family
    code: Implementation
    loaded: Loaded
    demo_sized: bool


class Models:
    """Loaded model versions by id, within a budget of memory."""

    def __init__(self, device: torch.device, budget_bytes: int):
        self.device = device
        self.budget_bytes = budget_bytes
        self._held: OrderedDict[str, Ready] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, version_id: str) -> Ready:
        """A version ready to run.

        Raises StorageUnavailable, IntegrityError, or Permanent from its family.
        """
        with self._lock:
            found = self._held.get(version_id)
            if found is None:
                found = self._held[version_id] = self._load_in_room(version_id)
                self._shrink(self.budget_bytes)
            self._held.move_to_end(version_id)
            return found

    def keep_only(self, ready: Ready) -> bool:
        """Drop all others, which want memory too; False where there are none."""
        with self._lock:
            self._held.move_to_end(ready.version_id)
            return self._shrink(0)

    def clear(self) -> None:
        """Drop all."""
        with self._lock:
            self._held.clear()
            give_back_memory(self.device)

    def names(self) -> list[str]:
        """What is held, the least recently used first."""
        return [ready.name for ready in list(self._held.values())]

    def versions(self) -> list[str]:
        """Ids of what is held."""
        return list(self._held)

    def _load_in_room(self, version_id: str) -> Ready:
        """Load one; where there is no room for it, in the place of all others."""
        try:
            return self._load(version_id)
        except Exception as error:
            if not self._held or not is_out_of_memory(error):
                raise
            clear_frames(error.__traceback__)
        log.warning("a model found no memory; loading it again without the others")
        self._held.clear()
        give_back_memory(self.device)
        return self._load(version_id)

    def _load(self, version_id: str) -> Ready:
        with transaction() as session:
            model, version = models.version_by_id(session, version_id)
        family = catalog.family(model.family)
        code = implementation(family)
        folder = fetch(version.prefix, dict(version.files), f"models/{version.weights_hash}")
        return Ready(
            version_id,
            f"{model.name}@{version.version}",
            version.weights_hash,
            family,
            code,
            code.load(folder, self.device),
            bool(version.card.get("demo_sized")),
        )

    def _shrink(self, budget_bytes: int) -> bool:
        """Drop the oldest beyond a budget, never the last one; False where none had to go."""
        before = len(self._held)
        while len(self._held) > 1 and self._bytes() > budget_bytes:
            name, _ = self._held.popitem(last=False)
            log.info("model %s left memory", name)
        if len(self._held) == before:
            return False
        give_back_memory(self.device)
        return True

    def _bytes(self) -> int:
        return sum(ready.loaded.memory_bytes for ready in self._held.values())

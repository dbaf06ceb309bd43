"""A device without room: what nothing needs goes first, and what waits elsewhere waits its turn."""

import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import text

from shared.db import transaction
from shared.services import jobs
from shared.states import Lane
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from tests.families.stand_in import StandIn
from tests.ledger import add_stand_in, assert_sound, submit
from worker.family import Part, Request, Text
from worker.host import host
from worker.registry import Models
from worker.runner import drain


@pytest.fixture(autouse=True)
def _model(stand_in: str) -> None:
    """Every test here has the stand-in's model."""


class Tensor:
    """Stands for what a pass has on the device."""


def run(tenant: Tenant, items: int, model: str = "stand-in") -> Job:
    job = submit(tenant.id, [{}] * items, model)
    drain(Lane.TEXT)
    with transaction() as session:
        return jobs.get(session, tenant.id, job.id)


def made(requests: Sequence[Request]) -> Iterator[Part]:
    for position in range(len(requests)):
        yield Part(position, 0, Text("made"), 0, {"finish_reason": "stop"})


def test_halves_run_in_the_memory_that_the_whole_has_left(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[bool] = []
    on_device: weakref.WeakSet[Tensor] = weakref.WeakSet()

    def generate(self: StandIn, _: Any, requests: Sequence[Request], run: Any) -> Iterator[Part]:
        left.append(bool(on_device))
        tensor = Tensor()
        on_device.add(tensor)
        if len(requests) > 1:
            raise MemoryError
        yield from made(requests)

    monkeypatch.setattr(StandIn, "generate", generate)

    assert run(tenant, 2).state == "succeeded"
    assert left
    assert not any(left)
    assert_sound()


def test_where_a_batch_finds_no_memory_other_models_make_room(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def generate(self: StandIn, _: Any, requests: Sequence[Request], run: Any) -> Iterator[Part]:
        sizes.append(len(requests))
        if len(host().models.versions()) > 1:
            raise MemoryError
        yield from made(requests)

    add_stand_in(tenant.id, "other")
    run(tenant, 1, "other")
    monkeypatch.setattr(StandIn, "generate", generate)

    assert run(tenant, 4).state == "succeeded"
    assert sizes == [4, 4]
    assert host().models.names() == ["stand-in@1"]
    assert_sound()


def test_where_a_model_finds_no_memory_it_takes_the_place_of_the_others(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Models._load

    def load_alone(self: Models, version_id: str) -> Any:
        if self.versions():
            raise MemoryError
        return load(self, version_id)

    add_stand_in(tenant.id, "other")
    run(tenant, 1, "other")
    monkeypatch.setattr(Models, "_load", load_alone)

    assert run(tenant, 1).state == "succeeded"
    assert host().models.names() == ["stand-in@1"]
    assert_sound()


@pytest.mark.parametrize(("crowded", "errors"), [(True, 0), (False, 1)])
def test_only_memory_that_others_hold_costs_an_item_no_attempt(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, crowded: bool, errors: int
) -> None:
    def generate(self: StandIn, _: Any, requests: Sequence[Request], run: Any) -> Iterator[Part]:
        raise MemoryError
        yield

    monkeypatch.setattr(StandIn, "generate", generate)
    monkeypatch.setattr("worker.device.is_crowded", lambda _: crowded)

    assert run(tenant, 1).queued == 1
    with transaction() as session:
        counted = session.execute(text("SELECT attempt FROM items")).scalar_one()
    assert counted == errors
    assert_sound()

"""A device without room: what nothing needs goes first, and what waits elsewhere waits its turn."""

import gc
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import text

from shared.db import transaction
from shared.services import jobs
from shared.services.ledger.claim import Claim, Claimed
from shared.states import Lane
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from tests.families.stand_in import StandIn
from tests.ledger import add_stand_in, assert_sound, submit, take
from worker import runner
from worker.device import is_out_of_memory
from worker.family import Part, Request, Text
from worker.generation import forward
from worker.host import host
from worker.lease import Keeper, Lease
from worker.registry import Models
from worker.runner import drain, run_long


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


def lease_of(found: Claim) -> Lease:
    return Lease(found.token, Keeper(lambda: None))


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


def test_what_finds_no_memory_by_itself_spends_an_attempt(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate(self: StandIn, _: Any, requests: Sequence[Request], run: Any) -> Iterator[Part]:
        raise MemoryError
        yield

    monkeypatch.setattr(StandIn, "generate", generate)

    assert run(tenant, 1).queued == 1
    with transaction() as session:
        assert session.execute(text("SELECT attempt FROM items")).scalar_one() == 1
    assert_sound()


def test_where_long_work_finds_no_memory_the_models_make_room(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(item: Claimed, lease: Lease) -> None:
        raise MemoryError

    run(tenant, 1)
    assert host().models.names() == ["stand-in@1"]
    monkeypatch.setattr(runner, "work_for", lambda *_: work)
    submit(tenant.id, [{}])
    found = take()

    run_long(found, lease_of(found))

    assert host().models.names() == []


def test_what_is_being_stored_holds_no_model(tenant: Tenant) -> None:
    submit(tenant.id, [{}])
    found = take()
    outcome = forward(host(), found.items, lease_of(found))
    model = weakref.ref(host().models.get(str(found.items[0].model_version_id)))
    host().models.clear()
    gc.collect()

    assert outcome.parts
    assert model() is None


@pytest.mark.parametrize(
    "told",
    [
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
        "CUDA error: out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_it_is_known_by_what_torch_says_too(told: str) -> None:
    assert is_out_of_memory(RuntimeError(told))
    assert not is_out_of_memory(RuntimeError("shapes differ"))

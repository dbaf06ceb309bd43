"""The suite can fail: for each of its checks there is a mistake in the code that it names."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from shared.services.ledger.invariants import INVARIANTS
from shared.storage import storage
from shared.tables.tenant import Tenant
from tests.chaos import breaks
from tests.chaos.breaking import Break, Code, Scenario
from tests.chaos.soundness import CHECKS, all_faults, changes, watching

BREAKS = [value for value in vars(breaks).values() if isinstance(value, Break)]
SCENARIOS = list(dict.fromkeys(mistake.scenario for mistake in BREAKS))


@pytest.fixture
def code(tenant: Tenant, stand_in: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Code]:
    with ExitStack() as stack:
        yield Code(monkeypatch, stack)


def faults_after(scenario: Scenario, tenant: Tenant) -> set[str]:
    with watching():
        scenario(tenant)
        return {*all_faults(storage()), *changes()}


@pytest.mark.parametrize("mistake", BREAKS, ids=lambda mistake: mistake.make.__name__)
def test_a_mistake_is_named(mistake: Break, code: Code, tenant: Tenant) -> None:
    mistake.make(code)

    assert mistake.check in faults_after(mistake.scenario, tenant)


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_is_named_where_nothing_is_broken(scenario: Scenario, tenant: Tenant) -> None:
    assert faults_after(scenario, tenant) == set()


def test_every_check_can_fail() -> None:
    assert {mistake.check for mistake in BREAKS} == {*INVARIANTS, *CHECKS}

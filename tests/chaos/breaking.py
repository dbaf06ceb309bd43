"""Deliberate breaks of the code: what is forgotten or changed in it for the length of a test."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest
from sqlalchemy import text

from shared.statement import Statement
from shared.tables.tenant import Tenant
from tests.ledger import execute

Scenario = Callable[[Tenant], None]


class Code:
    """The code, whole again after the test."""

    def __init__(self, patch: pytest.MonkeyPatch, stack: ExitStack):
        self._patch = patch
        self._stack = stack

    def forget(self, function: str) -> None:
        """Have a function do nothing."""
        self.replace(function, lambda *_, **__: None)

    def replace(self, function: str, other: Callable[..., Any]) -> None:
        self._patch.setattr(function, other)

    def edit(self, statement: str, old: str, new: str) -> None:
        """Change the one place in a SQL statement that says `old`."""
        module, _, name = statement.rpartition(".")
        whole = getattr(import_module(module), name)
        assert whole.text.count(old) == 1, f"{statement} does not say {old!r} once"
        sql = whole.text.replace(old, new)
        broken = Statement(sql, whole.row) if isinstance(whole, Statement) else text(sql)
        self._patch.setattr(statement, broken)

    def during(self, state: AbstractContextManager[None]) -> None:
        """Hold a state of the installation until the test ends."""
        self._stack.enter_context(state)


@dataclass(frozen=True)
class Break:
    """A mistake that a programmer may make, and what must name it."""

    check: str
    scenario: Scenario
    make: Callable[[Code], None]


def named_by(check: str, scenario: Scenario) -> Callable[[Callable[[Code], None]], Break]:
    """Say what must find fault with a scenario that is run under this break."""
    return lambda make: Break(check, scenario, make)


@contextmanager
def outputs_that_may_be_there_twice() -> Iterator[None]:
    """The table of outputs, without the constraint that is the last word against doubles."""
    execute("ALTER TABLE outputs DROP CONSTRAINT outputs_item_id_index_key")
    try:
        yield
    finally:
        execute("TRUNCATE outputs CASCADE")
        execute("ALTER TABLE outputs ADD UNIQUE (item_id, index)")

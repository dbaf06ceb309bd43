"""Items that are not done: whose fault it was, as whoever waits for them is told."""

import pytest

from shared.services.items import failure_of
from shared.states import ItemState
from shared.tables.job import Item


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("internal", 500, "generation_failed"),
        ("crashed", 500, "generation_failed"),
        ("integrity", 500, "generation_failed"),
        ("storage_unavailable", 500, "generation_failed"),
        ("invalid_value", 400, "invalid_value"),
    ],
)
def test_a_fault_of_the_installation_is_none_of_the_request(
    code: str, status: int, told: str
) -> None:
    error = {"code": code, "message": "it failed", "param": None}

    failed = failure_of(Item(state=ItemState.FAILED, error=error))

    assert (failed.status, failed.code, failed.message) == (status, told, "it failed")

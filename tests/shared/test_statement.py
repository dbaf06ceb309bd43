"""Statements past SQLAlchemy: in its transaction, and with its errors."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from shared.db import asking, reading, transaction
from shared.statement import Statement, records
from shared.tables.tenant import Tenant
from tests.shared.test_db import close_from_the_other_end

Way = Callable[[], AbstractContextManager[Any]]


class Pair(NamedTuple):
    number: int
    word: str


PAIRS = Statement("SELECT n + :more, :word || '%' FROM generate_series(1, 2) n", Pair)
PID = Statement("SELECT pg_backend_pid()", int)
ADD = Statement("INSERT INTO tenants (id, name) VALUES (:id, :name) RETURNING id", str)


WAYS = pytest.mark.parametrize(
    "way", [transaction, reading, asking], ids=["transaction", "reading", "asking"]
)


@WAYS
def test_each_row_is_made_of_its_columns_in_their_order(tenant: Tenant, way: Way) -> None:
    with way() as at:
        rows = PAIRS.rows(at, {"more": 10, "word": "50 "})

    assert rows == [Pair(11, "50 %"), Pair(12, "50 %")]


def test_what_it_writes_is_undone_with_the_transaction_that_it_is_part_of(tenant: Tenant) -> None:
    with transaction() as session:
        session.execute(text("UPDATE tenants SET name = 'changed'"))
        assert ADD.rows(session, {"id": "tenant_x", "name": "new"}) == ["tenant_x"]
        session.rollback()

    with reading() as session:
        assert session.execute(text("SELECT name FROM tenants")).scalars().all() == [tenant.name]


def test_an_error_is_of_the_kind_that_others_catch_and_keeps_values_to_itself(
    tenant: Tenant,
) -> None:
    names = {"id": tenant.id, "name": "a secret"}

    with transaction() as session, pytest.raises(IntegrityError) as refused:
        ADD.rows(session, names)

    assert not refused.value.connection_invalidated
    assert "INSERT INTO tenants" in str(refused.value)
    assert "a secret" not in str(refused.value)


@WAYS
def test_of_connections_that_were_cut_off_one_costs_a_failure(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    monkeypatch.setattr("shared.db._IDLE_S", 60.0)
    with way() as one, way() as other:
        pids = PID.rows(one, {}) + PID.rows(other, {})
    for pid in pids:
        close_from_the_other_end(pid)

    with pytest.raises(OperationalError) as broken, way() as at:
        PID.rows(at, {})

    assert broken.value.connection_invalidated
    with way() as one, way() as other:
        assert not {*PID.rows(one, {}), *PID.rows(other, {})} & {*pids}


def test_a_missing_name_is_told(tenant: Tenant) -> None:
    with transaction() as session, pytest.raises(DBAPIError, match="word"):
        PAIRS.rows(session, {"more": 1})


def test_records_come_as_they_were_given_however_many_they_are(tenant: Tenant) -> None:
    given = [{"number": number, "word": f"'{number}\"%", "other": None} for number in range(300)]
    told = Statement(f"SELECT * FROM ({records('told', 'number int, word text')}) AS told", Pair)

    with reading() as session:
        rows = told.rows(session, {"told": json.dumps(given)})

    assert rows == [Pair(number, f"'{number}\"%") for number in range(300)]

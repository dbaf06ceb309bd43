"""Statements past SQLAlchemy: in its transaction, and with its errors."""

import json
from typing import NamedTuple

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from shared.db import asking, reading, transaction
from shared.statement import Statement, records
from shared.tables.tenant import Tenant
from tests.shared.test_db import close_from_the_other_end


class Pair(NamedTuple):
    number: int
    word: str


PAIRS = Statement("SELECT n + :more, :word || '%' FROM generate_series(1, 2) n", Pair)
PID = Statement("SELECT pg_backend_pid()", int)
ADD = Statement("INSERT INTO tenants (id, name) VALUES (:id, :name) RETURNING id", str)


def test_each_row_is_made_of_its_columns_in_their_order(tenant: Tenant) -> None:
    for way in (transaction, reading, asking):
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


def test_a_connection_that_breaks_is_not_used_again(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.db._IDLE_S", 60.0)

    def be_cut_off() -> None:
        with transaction() as session:
            pids.extend(PID.rows(session, {}))
            close_from_the_other_end(pids[0])
            PID.rows(session, {})

    pids: list[int] = []
    with pytest.raises(OperationalError) as broken:
        be_cut_off()

    assert broken.value.connection_invalidated
    with transaction() as session:
        assert PID.rows(session, {}) != pids


def test_a_missing_name_is_told(tenant: Tenant) -> None:
    with transaction() as session, pytest.raises(DBAPIError, match="word"):
        PAIRS.rows(session, {"more": 1})


def test_records_come_as_they_were_given_however_many_they_are(tenant: Tenant) -> None:
    given = [{"number": number, "word": f"'{number}\"%", "other": None} for number in range(300)]
    told = Statement(f"SELECT * FROM ({records('told', 'number int, word text')}) AS told", Pair)

    with reading() as session:
        rows = told.rows(session, {"told": json.dumps(given)})

    assert rows == [Pair(number, f"'{number}\"%") for number in range(300)]

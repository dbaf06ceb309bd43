"""A row in every table, whatever tables there are: each of them of one tenant."""

import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Column, Table, insert

from shared.db import engine
from shared.tables.metadata import metadata

Row = dict[str, Any]

_VALUES: dict[type, Any] = {
    int: 1,
    float: 1.0,
    bool: True,
    object: {},
    dict: {},
    list: [],
    datetime.datetime: datetime.datetime.now(datetime.UTC),
    datetime.date: datetime.datetime.now(datetime.UTC).date(),
}


def fill(tenant_id: str) -> dict[str, Row]:
    """A tenant with a row in every table; gives the rows by table."""
    rows: dict[str, Row] = {}
    missing = list(metadata.sorted_tables)
    with engine().begin() as connection:
        while missing:
            table = next(each for each in missing if _parents(each) <= rows.keys())
            row = {column.name: _value(tenant_id, column, rows) for column in _given(table)}
            added = connection.execute(insert(table).values(row).returning(table))
            rows[table.name] = dict(added.mappings().one())
            missing.remove(table)
    return rows


def _given(table: Table) -> list[Column[Any]]:
    """The columns that an insert must name, and those that point to other tables."""
    return [
        column
        for column in table.columns
        if column.identity is None
        and (_parent(column) or (not column.nullable and column.server_default is None))
    ]


def _parents(table: Table) -> set[str]:
    return {parent for column in table.columns if (parent := _parent(column))} - {table.name}


def _parent(column: Column[Any]) -> str | None:
    """The table to which a column points, be it by its name alone."""
    for key in column.foreign_keys:
        return key.column.table.name
    if column.nullable:
        return None
    named = f"{column.name.removesuffix('_id')}s"
    return named if column.name.endswith("_id") and named in metadata.tables else None


def _value(tenant_id: str, column: Column[Any], rows: dict[str, Row]) -> Any:
    parent = _parent(column)
    if parent is not None:
        return rows[parent]["id"]
    if column.table.name == "tenants" and column.name == "id":
        return tenant_id
    kind = column.type.python_type
    if kind.__name__ == "UUID":
        return uuid4()
    told = f"{tenant_id} {column}"
    return {str: told, bytes: told.encode()}.get(kind, _VALUES.get(kind))

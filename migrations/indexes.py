"""Indexes of tables that are in use: built and dropped while all others read and write.

Neither can be part of a transaction. What a migration has done before is committed; so it must be
able to do that again, after a build that broke off. What is to be done once comes last.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op

PATIENCE = "10min"
"""How long a build waits for transactions older than itself. Nobody waits for it meanwhile."""

_IS_WHOLE = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")


def build(name: str, table: str, columns: Sequence[str], **options: Any) -> None:
    """Build an index, unless it is there. What a build that broke off has left makes way."""
    with _patiently():
        if op.get_bind().execute(_IS_WHOLE, {"name": name}).scalar_one_or_none() is False:
            _drop(name, table)
        op.create_index(
            name, table, columns, if_not_exists=True, postgresql_concurrently=True, **options
        )


def drop(name: str, table: str) -> None:
    """Drop an index, if it is there."""
    with _patiently():
        _drop(name, table)


def _drop(name: str, table: str) -> None:
    op.drop_index(name, table_name=table, if_exists=True, postgresql_concurrently=True)


@contextmanager
def _patiently() -> Iterator[None]:
    with op.get_context().autocommit_block():
        usual = op.get_bind().execute(sa.text("SHOW lock_timeout")).scalar_one()
        op.execute(f"SET lock_timeout = '{PATIENCE}'")
        try:
            yield
        finally:
            op.execute(f"SET lock_timeout = '{usual}'")

"""add usage by day, key and model, and budgets of compute seconds."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_NUMBERS = ("items_done", "items_failed", "outputs", "bytes", "input_tokens", "output_tokens")
_SUMS_OF = ("tenant_id", "day", "key_id", "kind", "family", "model", "model_version_id")


def upgrade() -> None:
    _add()
    _fill()


def _add() -> None:
    op.add_column("jobs", sa.Column("key_id", sa.String(), nullable=True), if_not_exists=True)
    op.add_column(
        "jobs",
        sa.Column("cost", sa.Float(), server_default="0", nullable=False),
        if_not_exists=True,
    )
    op.add_column(
        "tenants",
        sa.Column("max_compute_seconds", sa.BigInteger(), nullable=True),
        if_not_exists=True,
    )
    op.add_column(
        "keys", sa.Column("max_compute_seconds", sa.BigInteger(), nullable=True), if_not_exists=True
    )
    op.add_column("keys", sa.Column("origin_id", sa.String(), nullable=True), if_not_exists=True)
    op.create_table(
        "usage",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column(
            "tenant_id",
            sa.String(),
            sa.ForeignKey("tenants.id", ondelete="CASCADE"),
            nullable=False,
        ),
        *_described(),
        sa.Column("compute_seconds", sa.Float(), server_default="0", nullable=False),
        sa.Column("cost", sa.Float(), server_default="0", nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
            for name in _NUMBERS
        ),
        sa.UniqueConstraint(*_SUMS_OF, name="usage_sums", postgresql_nulls_not_distinct=True),
        if_not_exists=True,
    )
    op.create_table(
        "usage_entries",
        sa.Column("tenant_id", sa.String(), primary_key=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        *_described(),
        sa.Column("compute_seconds", sa.Float(), nullable=False),
        sa.Column("cost", sa.Float(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _NUMBERS),
        postgresql_with={
            "autovacuum_vacuum_scale_factor": "0",
            "autovacuum_vacuum_threshold": "20000",
            "autovacuum_vacuum_cost_delay": "0",
        },
        if_not_exists=True,
    )


def _described() -> list[sa.Column]:
    return [
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("family", sa.String(), nullable=True),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column("model_version_id", sa.String(), nullable=True),
    ]


def _fill() -> None:
    """Which key asked for the jobs that are there is not known; the rest of their usage is.

    All rows are read while others use the tables.
    """
    with op.get_context().autocommit_block():
        op.execute("""
            UPDATE jobs SET cost = items.cost FROM (
                SELECT job_id, sum(cost) AS cost FROM items WHERE step = 'run' GROUP BY job_id
            ) items
            WHERE items.job_id = jobs.id
                AND jobs.state NOT IN ('succeeded', 'partial', 'failed', 'cancelled', 'expired')
        """)
    op.execute("""
        INSERT INTO usage (tenant_id, day, kind, family, model, model_version_id, compute_seconds,
            cost, items_done, items_failed, outputs, bytes, input_tokens, output_tokens)
        SELECT jobs.tenant_id,
            (coalesce(jobs.finished_at, jobs.started_at, jobs.created_at) AT TIME ZONE 'UTC')::date,
            jobs.kind, jobs.family, split_part(jobs.model, '@', 1), jobs.model_version_id,
            sum(jobs.compute_seconds), sum(coalesce(ran.cost, 0)), sum(jobs.done),
            sum(jobs.failed), sum(coalesce(made.outputs, 0)), sum(coalesce(made.bytes, 0)),
            sum(coalesce(made.input_tokens, 0)), sum(coalesce(made.output_tokens, 0))
        FROM jobs
        LEFT JOIN (
            SELECT job_id, sum(cost) AS cost FROM items
            WHERE step = 'run' AND state = 'done' GROUP BY job_id
        ) ran ON ran.job_id = jobs.id
        LEFT JOIN (
            SELECT job_id, count(*) AS outputs, sum(bytes) AS bytes,
                sum((facts->>'prompt_tokens')::bigint) FILTER (WHERE index = 0) AS input_tokens,
                sum((facts->>'completion_tokens')::bigint) AS output_tokens
            FROM outputs GROUP BY job_id
        ) made ON made.job_id = jobs.id
        WHERE jobs.compute_seconds > 0 OR jobs.done > 0 OR jobs.failed > 0
        GROUP BY 1, 2, 3, 4, 5, 6
    """)


def downgrade() -> None:
    op.drop_table("usage_entries")
    op.drop_table("usage")
    op.drop_column("keys", "origin_id")
    op.drop_column("keys", "max_compute_seconds")
    op.drop_column("tenants", "max_compute_seconds")
    op.drop_column("jobs", "cost")
    op.drop_column("jobs", "key_id")

"""keep where people are signed in, which passwords must be changed, and second factors."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# Before it is known whose session it is, row-level security shows none; of one that is known by
# its hash, this tells the tenant and no more.
_FINDER = """
    CREATE FUNCTION wall.tenant_of_sign_in(shown bytea) RETURNS varchar
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS $$ BEGIN
        RETURN (SELECT tenant_id FROM sign_ins WHERE hash = shown);
    END $$
"""


def upgrade() -> None:
    op.create_table(
        "sign_ins",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("browser", sa.String(), nullable=False),
        sa.Column("second_factor_at", sa.DateTime(timezone=True)),
        sa.Column("offered_secret", sa.String()),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column(
            "used_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.UniqueConstraint("hash"),
    )
    op.create_index("ix_sign_ins_tenant_id", "sign_ins", ["tenant_id"])
    op.create_index("ix_sign_ins_user_id", "sign_ins", ["user_id"])
    op.execute("ALTER TABLE sign_ins ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY tenant ON sign_ins USING (tenant_id = (SELECT wall.tenant()))")
    op.execute(_FINDER)
    op.execute("REVOKE EXECUTE ON FUNCTION wall.tenant_of_sign_in(bytea) FROM PUBLIC")
    op.add_column(
        "users",
        sa.Column("must_change_password", sa.Boolean(), server_default="false", nullable=False),
    )
    op.add_column("users", sa.Column("second_factor", sa.String()))
    op.add_column("users", sa.Column("second_factor_step", sa.BigInteger()))
    op.add_column(
        "users",
        sa.Column(
            "recovery_hashes",
            sa.ARRAY(sa.LargeBinary()),
            server_default="{}",
            nullable=False,
        ),
    )


def downgrade() -> None:
    for column in (
        "recovery_hashes",
        "second_factor_step",
        "second_factor",
        "must_change_password",
    ):
        op.drop_column("users", column)
    op.execute("DROP FUNCTION wall.tenant_of_sign_in(bytea)")
    op.drop_table("sign_ins")

"""let files expire, and add uploads in parts."""

import sqlalchemy as sa
from alembic import op

from migrations import indexes

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "files",
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        if_not_exists=True,
    )
    indexes.build(
        "files_by_expiry",
        "files",
        ["expires_at"],
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column(
            "tenant_id",
            sa.String(),
            sa.ForeignKey("tenants.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("stored", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lifetime_s", sa.Integer(), nullable=True),
        sa.Column("file_id", sa.String(), nullable=True),
        sa.Column("asked", sa.String(64), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("uploads_by_tenant", "uploads", ["tenant_id"])
    op.create_index("uploads_by_expiry", "uploads", ["expires_at"])
    op.create_table(
        "upload_parts",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column(
            "upload_id",
            sa.String(),
            sa.ForeignKey("uploads.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
    )
    op.create_index("upload_parts_by_upload", "upload_parts", ["upload_id", "id"])


def downgrade() -> None:
    op.drop_table("upload_parts")
    op.drop_table("uploads")
    op.drop_index(
        "files_by_expiry", table_name="files", postgresql_where=sa.text("expires_at IS NOT NULL")
    )
    op.drop_column("files", "expires_at")

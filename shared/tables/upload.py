"""Uploads: files that come in parts, and the parts that have come."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, Integer, String, func
from sqlalchemy.orm import Mapped, mapped_column

from shared.tables.base import Base


class Upload(Base):
    """One file that a client announced and sends in parts."""

    __tablename__ = "uploads"
    __table_args__ = (
        Index("uploads_by_tenant", "tenant_id"),
        Index("uploads_by_expiry", "expires_at"),
    )

    id: Mapped[str] = mapped_column(String, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(String)
    """A member of shared.states.UploadState."""
    purpose: Mapped[str] = mapped_column(String)
    filename: Mapped[str] = mapped_column(String)
    bytes: Mapped[int] = mapped_column(BigInteger)
    """How long the file will be, as announced."""
    stored: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Bytes of the parts that are kept: it and `bytes` are what the upload takes of a quota."""
    lifetime_s: Mapped[int | None] = mapped_column(Integer)
    """How long the file will live; absent: it is kept."""
    file_id: Mapped[str | None] = mapped_column(String)
    """The file that it became."""
    asked: Mapped[str | None] = mapped_column(String(64))
    """Hash of the request that completed it, so that a repeat gets the same answer."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    """From then on it takes no part and cannot be completed."""


class Part(Base):
    """Some bytes of an upload. Their order is named when it is completed."""

    __tablename__ = "upload_parts"
    __table_args__ = (Index("upload_parts_by_upload", "upload_id", "id"),)

    id: Mapped[str] = mapped_column(String, primary_key=True)
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"))
    bytes: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[str] = mapped_column(String)
    """Where it lies in storage."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

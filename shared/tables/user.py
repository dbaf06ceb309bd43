"""People who sign in to the dashboard, with the columns that Flask-Security expects."""

from datetime import datetime

from sqlalchemy import Boolean, DateTime, ForeignKey, String, func
from sqlalchemy.orm import Mapped, mapped_column

from shared.tables.base import Base


class User(Base):
    """A person of one tenant."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    email: Mapped[str] = mapped_column(String, unique=True)
    password: Mapped[str] = mapped_column(String)
    """argon2id hash."""
    role: Mapped[str] = mapped_column(String)
    """A member of shared.states.Role."""
    active: Mapped[bool] = mapped_column(Boolean, server_default="true")
    fs_uniquifier: Mapped[str] = mapped_column(String(64), unique=True)
    """Flask-Security's session token: changing it signs the person out everywhere."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

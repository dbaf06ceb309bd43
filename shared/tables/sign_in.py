"""Where people are signed in: the dashboard's sessions, each of one person in one browser."""

from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, LargeBinary, String, func
from sqlalchemy.orm import Mapped, mapped_column

from shared.tables.base import Base


class SignIn(Base):
    """One session; the browser's cookie holds its token, and the row the token's hash."""

    __tablename__ = "sign_ins"

    id: Mapped[str] = mapped_column(String, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    address: Mapped[str] = mapped_column(String)
    """From which the person came when they signed in."""
    browser: Mapped[str] = mapped_column(String)
    """What the browser calls itself."""
    second_factor_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    """When the second factor was shown; absent: it was not yet, or the person has none."""
    offered_secret: Mapped[str | None] = mapped_column(String)
    """Of a second factor that is being set up here, and is none before a code has proved it."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    used_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    """When the person last asked for a page; what pages ask for by themselves does not count."""
    ends_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    """When it ends in any case."""

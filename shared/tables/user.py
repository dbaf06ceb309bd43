"""People who sign in to the dashboard."""

from datetime import datetime

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    DateTime,
    ForeignKey,
    LargeBinary,
    String,
    func,
)
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
    """By which the release before knew who was signed in."""
    must_change_password: Mapped[bool] = mapped_column(Boolean, server_default="false")
    """Its password was made for the person, who has to choose another at the next sign-in."""
    second_factor: Mapped[str | None] = mapped_column(String)
    """The secret that the person's authenticator app holds too, in base 32; absent: has none."""
    second_factor_step: Mapped[int | None] = mapped_column(BigInteger)
    """Of which half-minute since 1970 a code was last used: it and older ones are used up."""
    recovery_hashes: Mapped[list[bytes]] = mapped_column(ARRAY(LargeBinary), server_default="{}")
    """SHA-256 of the codes, each good once, for who has lost that app."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

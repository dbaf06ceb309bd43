"""What processes have counted, added up."""

from sqlalchemy import Float, String
from sqlalchemy.orm import Mapped, mapped_column

from shared.tables.base import Base


class Metric(Base):
    """One sample of one metric, as Prometheus names it."""

    __tablename__ = "metrics"

    name: Mapped[str] = mapped_column(String, primary_key=True)
    labels: Mapped[str] = mapped_column(String, primary_key=True)
    """As JSON, its keys sorted."""
    value: Mapped[float] = mapped_column(Float)

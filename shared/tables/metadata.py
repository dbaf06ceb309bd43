"""All tables together: what migrations are compared with."""

from shared.tables import (
    dataset,
    failure,
    file,
    job,
    ledger,
    metric,
    model,
    output,
    sign_in,
    tenant,
    upload,
    usage,
    user,
    webhook,
)
from shared.tables.base import Base

TABLES = (
    dataset,
    failure,
    file,
    job,
    ledger,
    metric,
    model,
    output,
    sign_in,
    tenant,
    upload,
    usage,
    user,
    webhook,
)
metadata = Base.metadata

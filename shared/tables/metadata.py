"""All tables together: what migrations are compared with."""

from shared.db import Base
from shared.tables import dataset, file, job, ledger, model, output, tenant, user

TABLES = (dataset, file, job, ledger, model, output, tenant, user)
metadata = Base.metadata

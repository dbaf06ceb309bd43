"""Settings in tests: read once per process; a test that changes them has them read anew."""

import sys

from shared import catalog, metrics
from shared.db import forget_engine
from shared.settings import settings
from shared.storage import storage


def forget_settings() -> None:
    """Have settings, and what was made from them, made anew."""
    _end_host()
    metrics.stop()
    forget_engine()
    for cached in (settings, storage, catalog.families):
        cached.cache_clear()


def _end_host() -> None:
    """A worker's host, if a test had one: its thread reads settings and uses the database."""
    module = sys.modules.get("worker.host")
    if module is not None and module.host.cache_info().currsize:
        module.host().keeper.stop()
        module.host.cache_clear()

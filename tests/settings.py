"""Settings in tests: read once per process; a test that changes them has them read anew."""

from shared import catalog
from shared.db import engine
from shared.settings import settings
from shared.storage import storage


def forget_settings() -> None:
    """Have settings, and what was made from them, made anew."""
    if engine.cache_info().currsize:
        engine().dispose()
    for cached in (settings, engine, storage, catalog.families):
        cached.cache_clear()

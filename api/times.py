"""Times as clients see them: whole seconds since 1970."""

from datetime import datetime

LAST_SECOND = 253_402_300_799
"""The end of the year 9999, the last that can be written."""


def seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def seconds_or_none(moment: datetime | None) -> int | None:
    return None if moment is None else seconds(moment)

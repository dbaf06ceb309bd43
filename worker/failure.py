"""What an exception means for the item that raised it: a pause, another attempt, or the end."""

import logging

from shared.errors import IntegrityError, Permanent, Retryable, is_disk_full
from shared.log import storable, tail
from shared.services.ledger.commit import Failed, Released, Result

log = logging.getLogger(__name__)

_PAUSE_S = 5.0
"""How long an item rests after a fault of the storage, the database or this machine's disk, which
costs it no attempt.
"""


def failure(item: int, error: Exception) -> Result:
    """What an exception means for its item: a pause, another attempt, or the end."""
    if isinstance(error, IntegrityError):
        # Read wrong once, perhaps; stored wrong, it would be read so for ever.
        return Failed(item, {"code": error.code, "message": error.message}, retry=True)
    if isinstance(error, Retryable):
        return Released(item, delay_s=max(_PAUSE_S, error.retry_after_s or 0))
    if is_disk_full(error):
        log.error("item %d found no room on a disk of this worker: %s", item, error)
        return Released(item, delay_s=_PAUSE_S)
    if isinstance(error, Permanent):
        told = {"code": error.code, "message": error.message, "param": error.param}
        return Failed(item, told)
    log.error("item %d raised", item, exc_info=error)
    return Failed(
        item,
        {"code": "internal", "message": storable(f"{type(error).__name__}: {error}")},
        retry=True,
        log=tail(),
    )

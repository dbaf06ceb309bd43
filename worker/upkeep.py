"""Upkeep, hourly: needless checkpoints, objects without rows, jobs past their retention, files
that expired or have no row, what uploads left.
"""

import logging
import time
from collections.abc import Sequence
from itertools import islice

from shared.db import reading, transaction
from shared.services import files, leftovers, models, retention, uploads
from shared.services.events import add_event
from shared.services.outputs import ITEMS_PER_FOLDER
from shared.settings import settings
from shared.states import EventLevel
from shared.storage import remove, storage
from shared.tables.upload import Upload

log = logging.getLogger(__name__)

_LATE_S = 24 * 3600
"""No object of a lost request comes later than that."""


def tidy_trainings() -> None:
    """Delete checkpoints that nobody needs any more; sheets and models stay."""
    with transaction() as session:
        over = [(job.id, job.tenant_id) for job in models.trainings_to_tidy(session)]
    for job_id, tenant_id in over:
        remove(f"{tenant_id}/jobs/{job_id}/checkpoints")
        remove(f"{tenant_id}/jobs/{job_id}/best")
        with transaction() as session:
            models.forget_checkpoints(session, job_id)


def reconcile_objects() -> None:
    """Compare the objects of jobs that ended a day ago with their rows.

    An object without a row is what a repeat left: deleted. A row without an object is an alarm.
    """
    while True:
        with reading() as session:
            jobs = [(job.id, job.tenant_id) for job in retention.unreconciled(session)]
        if not jobs:
            return
        for job_id, tenant_id in jobs:
            _reconcile(job_id, tenant_id)


def _reconcile(job_id: str, tenant_id: str) -> None:
    """Folder by folder, as `generation` fills them, so that a million items take no memory."""
    missing: list[str] = []
    last, folder = 0, 0
    while True:
        prefix = f"{tenant_id}/outputs/{job_id}/{folder}/"
        with reading() as session:
            items = retention.items_after(session, job_id, last, ITEMS_PER_FOLDER)
        if not items:
            break
        missing += _reconcile_folder(job_id, prefix, items)
        last, folder = items[-1], folder + 1
    with transaction() as session:
        if missing:
            log.error("of job %s %d objects are missing: %s", job_id, len(missing), missing[:20])
            told = f"{len(missing)} objects are missing from the storage"
            data = {"keys": missing[:20]}
            add_event(session, job_id, "warning", told, data, level=EventLevel.ERROR)
        retention.reconciled(session, job_id)


def _reconcile_folder(job_id: str, prefix: str, items: Sequence[int]) -> list[str]:
    """Delete what no row names; returns the keys of what is missing."""
    stored = {one.key for one in storage().list(prefix)}
    with transaction() as session:
        if not retention.hold_ended(session, job_id):
            return []
        # After the list, and with the job held: what is stored and unnamed now was left behind.
        # Held until it is deleted: an item that is retried may store the same again.
        named = retention.keys_of(session, items)
        for key in sorted(stored - named):
            log.info("%s belongs to no output; it is deleted", key)
            storage().delete(key)
    return sorted(named - stored)


def forget_jobs() -> None:
    """Delete jobs with outputs that are past their tenant's retention, their objects first."""
    while True:
        with reading() as session:
            jobs = retention.outdated(session)
        if not jobs:
            return
        for job_id, tenant_id in jobs:
            _forget(job_id, tenant_id)


def _forget(job_id: str, tenant_id: str) -> None:
    # The objects first: should this end half-way, the rows still say what is to be deleted. A job
    # so old is not retried any more.
    remove(f"{tenant_id}/outputs/{job_id}")
    more = True
    while more:
        with transaction() as session:
            more = retention.forget_items(session, job_id)
    with transaction() as session:
        retention.forget_job(session, job_id)


def forget_events() -> None:
    """Delete webhook events that are past their time."""
    with transaction() as session:
        retention.forget_events(session, settings().event_days)


def forget_files() -> None:
    """Delete files that have expired, but none that accepted work reads."""
    while True:
        with reading() as session:
            expired = files.expired(session)
        if not expired:
            return
        for file_id in expired:
            _forget_file(file_id)


def _forget_file(file_id: str) -> None:
    with transaction() as session:
        key = files.expired_key(session, file_id)
    if key is None:
        return  # work has come to read it
    # Before its row: should this fail, it is found again.
    storage().delete(key)
    with transaction() as session:
        files.forget(session, file_id)


def tidy_files() -> None:
    """Delete what was stored as a file a day ago and got no row: its request or job was lost."""
    with reading() as session:
        everybody = files.tenants(session)
    for tenant_id in everybody:
        stored = storage().list(files.folder(tenant_id))
        old = (one for one in stored if time.time() - one.modified_at > _LATE_S)
        while keys := [one.key for one in islice(old, ITEMS_PER_FOLDER)]:
            with reading() as session:
                named = files.named(session, tenant_id, keys)
            for key in keys:
                if key not in named:
                    log.info("%s belongs to no file; it is deleted", key)
                    storage().delete(key)


def tidy_uploads() -> None:
    """Delete the parts of uploads that have ended, and a day later whatever else they left."""
    with transaction() as session:
        leftovers.expire(session)
    while True:
        with reading() as session:
            over = leftovers.with_parts(session)
        if not over:
            break
        for upload_id in over:
            leftovers.clear(upload_id)
    while True:
        with reading() as session:
            outdated = leftovers.outdated(session)
        if not outdated:
            return
        for upload in outdated:
            _forget_upload(upload)


def _forget_upload(upload: Upload) -> None:
    """What a request that was lost half-way has stored has no row, or was never named by one."""
    prefix = f"{uploads.folder(upload.tenant_id, upload.id)}/"
    with reading() as session:
        kept = leftovers.key_of_file(session, upload)
    for stored in storage().list(prefix):
        if stored.key != kept:
            storage().delete(stored.key)
    storage().delete_unfinished(prefix)
    with transaction() as session:
        leftovers.forget(session, upload.id)

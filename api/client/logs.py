"""What happened to a job: its events and the failures of its items, in order."""

import heapq
import time
from collections.abc import Iterator

from api.client.http import Api, Json, job_path
from api.client.showing import plain, when
from api.client.waiting import has_ended, pause

_FAILURES = "/api/v1/failures"
_PAGE = 100


def rows(api: Api, job_id: str, follow: bool) -> Iterator[Json]:
    """A job's events and failures; with `follow` they go on until it has ended."""
    began = time.monotonic()
    path = job_path(job_id)
    job = api.get(path)
    events = _Tail(api, f"{path}/events")
    failures = _Tail(api, _FAILURES, job=job["id"])
    while True:
        yield from heapq.merge(events.rows(), failures.rows(), key=lambda row: row["created_at"])
        # What happened until it was seen to have ended is told; so a last look follows that.
        if not follow or has_ended(job):
            return
        pause(began)
        job = api.get(path)


class _Tail:
    """A list of which only what is new is read."""

    def __init__(self, api: Api, path: str, **query: str):
        self.api, self.path, self.query = api, path, query

    def rows(self) -> Iterator[Json]:
        for page in self.api.pages(self.path, limit=_PAGE, **self.query):
            yield from page
            if page:
                self.query["after"] = page[-1]["id"]


def line(row: Json) -> str:
    """An event or a failure as people read it."""
    if row["object"] == "failure":
        told = f"{row['item']}, attempt {row['attempt']}: {row['error']['message']}"
        return plain(f"{when(row['created_at'])}  error    failure   {told}")
    return plain(
        f"{when(row['created_at'])}  {row['level']:<7}  {row['type']:<8}  {row['message']}"
    )

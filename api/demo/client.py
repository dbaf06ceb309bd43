"""A client of the HTTP API, as any business application would write one."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from shared.errors import Permanent

Json = dict[str, Any]
_POLL_S = 0.5
_FINAL = {"succeeded", "partial", "failed", "cancelled", "expired"}


class JobFailed(Permanent):
    """A job did not succeed."""


class Client:
    """One API key at one address."""

    def __init__(self, address: str, key: str):
        self._http = httpx.Client(
            base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=120
        )

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Json:
        return self._json(self._http.get(path, params=query))

    def post(self, path: str, body: Json) -> Json:
        return self._json(self._http.post(path, json=body))

    def upload(self, filename: str, content: bytes, purpose: str = "fine-tune") -> str:
        """Upload a file; returns its id."""
        answer = self._http.post(
            "/v1/files", files={"file": (filename, content)}, data={"purpose": purpose}
        )
        return str(self._json(answer)["id"])

    def content(self, path: str) -> bytes:
        answer = self._http.get(path, follow_redirects=True)
        answer.raise_for_status()
        return answer.content

    def all(self, path: str) -> Iterator[Json]:
        """Every row of a list, page by page, in the order of making."""
        after: Json = {}
        while True:
            page = self.get(path, limit=100, order="asc", **after)
            yield from page["data"]
            if not page["has_more"]:
                return
            after = {"after": page["last_id"]}

    def wait(self, job_id: str, tell: Callable[[Json], None]) -> Json:
        """Poll a job to its end, telling each answer. Raises JobFailed unless it succeeds."""
        while True:
            job = self.get(f"/api/v1/jobs/{job_id}")
            tell(job)
            if job["state"] in _FINAL:
                break
            time.sleep(_POLL_S)
        if job["state"] != "succeeded":
            raise JobFailed(f"job {job_id} is {job['state']}: {job['error'] or job['counts']}")
        return job

    @staticmethod
    def _json(answer: httpx.Response) -> Json:
        if answer.is_error:
            error = answer.json().get("error", {})
            raise JobFailed(f"{answer.request.url} answered {answer.status_code}: {error}")
        return dict(answer.json())

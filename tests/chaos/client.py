"""A business application that survives faults: every create has a key, and is repeated until it is
answered.
"""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any
from uuid import uuid4

import httpx

from tests.waiting import until

FINAL = {"succeeded", "partial", "failed", "cancelled", "expired"}
_PAUSE_S = 0.2


class Customer:
    """One tenant's program at one address."""

    def __init__(self, address: str, key: str, tenant_id: str):
        self.tenant_id = tenant_id
        self._http = httpx.Client(
            base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=20
        )

    def __enter__(self) -> "Customer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def try_submit(self, params: Sequence[dict[str, Any]], key: str, **fields: Any) -> Any:
        """One attempt. Gives the answer; raises httpx.TransportError when there is none."""
        items = [{"params": each} for each in params]
        body = {"kind": "generation", "model": "stand-in", "items": items, **fields}
        return self._http.post("/api/v1/jobs", json=body, headers={"Idempotency-Key": key})

    def submit(self, params: Sequence[dict[str, Any]], within_s: float = 60, **fields: Any) -> str:
        """Submit a job until it is accepted; its id. Raises TimeoutError."""
        key, deadline = str(uuid4()), time.monotonic() + within_s
        while time.monotonic() < deadline:
            try:
                answer = self.try_submit(params, key, **fields)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 202:
                return str(answer.json()["id"])
            if answer is not None and answer.status_code not in {409, 429, 500, 502, 503}:
                raise RuntimeError(f"refused: {answer.status_code} {answer.text}")
            time.sleep(_PAUSE_S)
        raise TimeoutError("nobody accepted the job")

    def change(self, job_id: str, what: str) -> int | None:
        """Ask to cancel, retry, pause or resume; the status, None without an answer."""
        try:
            return self._http.post(f"/api/v1/jobs/{job_id}/{what}").status_code
        except httpx.TransportError:
            return None

    def look(self, job_id: str) -> dict[str, Any] | None:
        """The job; None while nobody answers."""
        try:
            answer = self._http.get(f"/api/v1/jobs/{job_id}")
        except httpx.TransportError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def await_end(self, job_id: str, within_s: float = 60) -> dict[str, Any]:
        """The job once it has ended. Raises TimeoutError."""
        found: dict[str, Any] = {}

        def has_ended() -> bool:
            found.update(self.look(job_id) or {})
            return found.get("state") in FINAL

        until(has_ended, within_s)
        return found

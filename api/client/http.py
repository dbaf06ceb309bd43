"""The HTTP API as the commands see it: JSON, pages, downloads; tried again where that may help."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import quote

import click
import httpx

from api.client.faults import Again, NoAnswer, check, retrying

Json = dict[str, Any]

_TIMEOUT = httpx.Timeout(120, connect=10)
_CHUNK_BYTES = 1 << 16


def job_path(job_id: str) -> str:
    """Where a job is, whatever somebody typed as its id."""
    return f"/api/v1/jobs/{quote(job_id, safe='')}"


class Api:
    """One key at one address. Its methods raise Refused or NoAnswer; threads may share it."""

    def __init__(self, address: str, key: str):
        self._http = httpx.Client(
            base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=_TIMEOUT
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Json:
        return self._json("GET", path, params=query)

    def post(self, path: str, key: str, body: Json) -> Json:
        """POST JSON that creates. `key` makes a repeat, whose first answer was lost, the same
        request.
        """
        return self._json("POST", path, headers={"Idempotency-Key": key}, json=body)

    def change(self, path: str) -> Json:
        """POST nothing, to where that changes a thing's state. Raises Conflicting where it is not
        in a state that allows that, be it after a request of ours whose answer was lost.
        """
        return self._json("POST", path)

    def upload(self, filename: str, source: IO[bytes], key: str) -> str:
        """Upload a file of items, from its start; returns its id."""
        file = self._json(
            "POST",
            "/v1/files",
            headers={"Idempotency-Key": key},
            files={"file": (filename, source)},
            data={"purpose": "batch"},
        )
        return str(file["id"])

    def pages(self, path: str, **query: Any) -> Iterator[list[Json]]:
        """A list page by page, oldest first."""
        while True:
            page = self.get(path, order="asc", **query)
            yield page["data"]
            if not page["has_more"]:
                return
            query["after"] = page["last_id"]

    def download(self, path: str, target: Path, sha256: str) -> None:
        """Write content to `target`, if it has this hash."""

        def attempt() -> None:
            if self._stream(path, target) != sha256:
                raise Again(click.ClickException("what came does not have the hash that it should"))

        retrying(attempt)

    def _stream(self, path: str, target: Path) -> str:
        """Write content to `target`; returns its SHA-256."""
        digest = hashlib.sha256()
        try:
            # httpx sends the key to no other origin than the first.
            with self._http.stream("GET", path, follow_redirects=True) as answer:
                if not answer.is_success:
                    answer.read()
                    check(answer)
                with target.open("wb") as file:
                    for chunk in answer.iter_bytes(_CHUNK_BYTES):
                        digest.update(chunk)
                        file.write(chunk)
        except httpx.RequestError as error:
            raise Again(self._unreachable(error)) from None
        return digest.hexdigest()

    def _json(self, method: str, path: str, **content: Any) -> Json:
        def attempt() -> Json:
            try:
                answer = self._http.request(method, path, **content)
            except httpx.RequestError as error:
                raise Again(self._unreachable(error)) from None
            check(answer)
            return self._object(answer)

        return retrying(attempt)

    def _object(self, answer: httpx.Response) -> Json:
        try:
            return dict(answer.json())
        except (ValueError, TypeError):
            told = f"{self._http.base_url} is not an Atelier server; set ATELIER_URL to one"
            raise NoAnswer(told) from None

    def _unreachable(self, error: httpx.RequestError) -> NoAnswer:
        host = error.request.url.netloc.decode()
        return NoAnswer(f"{host} gave no answer: {error or type(error).__name__}")

"""Pieces of text on their way from a worker to a client who watches, through Redis.

The ledger stays the truth: what is lost here comes with the item's output.
"""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from shared.settings import settings

log = logging.getLogger(__name__)

_LIFE_S = 600
"""How long Redis keeps a job's pieces after the last one."""
_MOST_PIECES = 100_000
_PAUSE_S = 1.0
"""After a fault of Redis nothing is sent for so long."""
_TIMEOUT_S = 2.0


Lists = dict[str, list[Any]]
"""What is told of tokens, by name: each list has an entry for each token."""


@dataclass(frozen=True)
class Piece:
    """Text of one output of a job."""

    seq: int
    """The item's place in the job."""
    index: int
    """Which of the item's outputs, from 0."""
    start: int
    """Characters of the output before it."""
    text: str
    last: bool
    """Whether the output ends with it."""
    first_token: int = 0
    """Tokens of the output before those of `logprobs`."""
    logprobs: Lists | None = None
    """Of the tokens that it completes, if they were asked for."""


def tokens_from(lists: Lists | None, first: int) -> Lists | None:
    """The log-probabilities from a token on; None when there is none."""
    if lists is None or len(lists["tokens"]) <= first:
        return None
    return {name: values[first:] for name, values in lists.items()}


def _key(job_id: str) -> str:
    return f"atelier:pieces:{job_id}"


class Sender:
    """Sends from a thread of its own, so that a lost or slow Redis never delays a forward pass."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, Piece]] = deque(maxlen=_MOST_PIECES)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def send(self, job_id: str, piece: Piece) -> None:
        """Send a piece soon. Returns at once."""
        with self._changed:
            self._waiting.append((job_id, piece))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="pieces", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        redis = _connect()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                pieces = list(self._waiting)
                self._waiting.clear()
            try:
                self._send(redis, pieces)
            except RedisError as error:
                log.warning("pieces were not sent, their readers wait for the whole: %s", error)
                time.sleep(_PAUSE_S)
                with self._changed:
                    self._waiting.clear()

    def _send(self, redis: Redis, pieces: list[tuple[str, Piece]]) -> None:
        with redis.pipeline(transaction=False) as pipeline:
            for job_id, piece in pieces:
                fields: Any = {"piece": json.dumps(_told(piece))}
                pipeline.xadd(_key(job_id), fields, maxlen=_MOST_PIECES, approximate=True)
            for job_id in {job_id for job_id, _ in pieces}:
                pipeline.expire(_key(job_id), _LIFE_S)
            pipeline.execute()


def _told(piece: Piece) -> tuple[Any, ...]:
    # An API of the release before knows five fields, and asks for none of the others.
    told = tuple(vars(piece).values())  # `astuple` would copy its lists
    return told if piece.logprobs is not None else told[:5]


_sender = Sender()


def send(job_id: str, piece: Piece) -> None:
    """Send a piece to whoever watches the job. Returns at once; it may get lost."""
    _sender.send(job_id, piece)


def follow(job_id: str, wait_s: float) -> Generator[list[Piece]]:
    """A job's pieces as they come, from the first one; an empty list after `wait_s` without any.

    Endless: whoever reads decides when the job is over. While Redis is away, nothing comes.
    """
    last: Any = "0"
    redis = _connect()
    try:
        while True:
            entries: list[Any] = []
            began = time.monotonic()
            try:
                found: Any = redis.xread({_key(job_id): last}, block=int(1000 * wait_s))
            except RedisError as error:
                log.warning("pieces of job %s cannot be read: %s", job_id, error)
                time.sleep(max(0.0, wait_s - (time.monotonic() - began)))
            else:
                entries = found[0][1] if found else []
            if entries:
                last = entries[-1][0]
            yield [Piece(*json.loads(fields[b"piece"])) for _, fields in entries]
    finally:
        with suppress(RedisError):
            redis.close()


def _connect() -> Redis:
    url = settings().required("redis_url")
    return Redis.from_url(
        url, protocol=2, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
    )

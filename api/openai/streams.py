"""Streams: the answer to a call as server-sent events, while a worker makes it.

Pieces come through Redis and may be lost; the end always comes from the ledger, with what is
missing. No database connection is held while waiting.
"""

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from flask import Response
from sqlalchemy import exc

from api import waiters
from api.creates import key_of_request
from api.errors import detail_of
from api.openai.waiting import NotInTime, cancel, is_over, wait
from api.presence import connection, has_left
from api.server_sent import ALIVE, respond
from shared.db import reading
from shared.endpoint import Delta, Endpoint, Made
from shared.endpoints.sampling import SamplingBody, usage
from shared.errors import AtelierError, Retryable
from shared.pieces import Lists, Piece, follow, tokens_from
from shared.services import models
from shared.settings import settings
from shared.tables.job import Job

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.25
"""How long without a piece until the ledger is asked whether the job is over, and the client is
looked for: sooner than one that lost its connection asks again.
"""
_LAST_S = 10.0
"""How long a job may take to be over after its last piece."""
CHUNKS = (
    "If `stream` is true: server-sent events, each a chunk of the answer as `data`, the last one "
    "`[DONE]`."
)
_DONE = "data: [DONE]\n\n"
Submit = Callable[[], Job]
Look = Callable[[Job], Made]


def answer(endpoint: Endpoint, body: SamplingBody, submit: Submit, made: Look) -> Response:
    """Accept a call and answer it as a stream, from its first piece on.

    Until then it may still end in an error with a status of its own. A client that leaves cancels
    it.
    """
    place = waiters.CALLS.take()
    try:
        stream = _Stream(endpoint, body, submit(), made)
        stream.begin()
    except BaseException:
        place.leave()
        raise
    return respond(stream.events(), place)


@dataclass
class _Sent:
    """How much of a choice the client has."""

    characters: int = 0
    tokens: int = 0
    """Whose log-probabilities it has."""


class _Stream:
    """One call and how much of it the client has."""

    def __init__(self, endpoint: Endpoint, body: SamplingBody, job: Job, made: Look):
        assert endpoint.chunk is not None
        self.chunk = endpoint.chunk
        self.chunk_object = endpoint.chunk_object
        self.body = body
        self.job = job
        self.model = _model_of(job)
        self.made = made
        self.key = key_of_request()
        self.client = connection()
        self.each = body.n or 1
        self.outputs = job.total * self.each
        self.sent: dict[int, _Sent] = defaultdict(_Sent)
        """By choice."""
        self.ended: set[int] = set()
        self.pieces = follow(job.id, _LOOK_EVERY_S)
        self.first: list[Piece] = []

    def begin(self) -> None:
        """Wait for the first piece, or the end. Raises NotInTime, or what the call failed of."""
        try:
            self._await_first()
        except BaseException:
            self.pieces.close()
            raise

    def _await_first(self) -> None:
        give_up_at = time.monotonic() + settings().wait_seconds
        while not self.first:
            self.first = next(self.pieces)
            if self.first or is_over(self.job):
                break
            if self._is_given_up(give_up_at) and cancel(self.job, self.key):
                raise NotInTime
        if not self.first:
            self.made(self.job)

    def _is_given_up(self, give_up_at: float) -> bool:
        return time.monotonic() > give_up_at or waiters.ENDING.is_due or has_left(self.client)

    def events(self) -> Iterator[str]:
        """The events, until the client has everything."""
        try:
            yield from self._growing()
            yield from self._rest()
            yield _DONE
        except AtelierError as error:
            yield _event({"error": detail_of(error)})
        except (exc.OperationalError, exc.TimeoutError) as error:
            log.error("the database does not answer; a stream of %s ends: %s", self.job.id, error)
            yield _event({"error": detail_of(Retryable("The database does not answer."))})
        except GeneratorExit:
            self._leave()
            raise
        finally:
            self.pieces.close()

    def _leave(self) -> None:
        """Cancel what nobody waits for any more. Whatever hinders it, the thread goes on."""
        log.info("the client left; job %s is cancelled", self.job.id)
        try:
            cancel(self.job, self.key)
        except Exception:
            log.exception("job %s was not cancelled, though its client left", self.job.id)

    def _growing(self) -> Iterator[str]:
        pieces = self.first
        while True:
            for piece in pieces:
                yield from self._more(piece)
            if len(self.ended) == self.outputs and wait(self.job, _LAST_S):
                return
            if not pieces:
                if is_over(self.job):
                    return
                yield ALIVE
            if waiters.ENDING.is_due and cancel(self.job, self.key):
                raise NotInTime
            pieces = next(self.pieces)

    def _more(self, piece: Piece) -> Iterator[str]:
        choice = piece.seq * self.each + piece.index
        if piece.last:
            self.ended.add(choice)
        # A batch that is run again sends its pieces again; after a lost one, all wait for the end.
        sent = self.sent[choice]
        if sent.characters < piece.start or sent.tokens < piece.first_token:
            return
        tokens = tokens_from(piece.logprobs, sent.tokens - piece.first_token)
        yield from self._grown(choice, piece.text[sent.characters - piece.start :], tokens)

    def _grown(self, choice: int, text: str, tokens: Lists | None) -> Iterator[str]:
        """A chunk of text that the client has not, with what is told of its tokens."""
        if text or tokens:
            sent = self.sent[choice]
            yield self._delta(Delta(choice, sent.characters, text, logprobs=tokens))
            sent.characters += len(text)
            sent.tokens += len(tokens["tokens"]) if tokens is not None else 0

    def _delta(self, delta: Delta) -> str:
        lead = self.body.lead(delta.choice // self.each)
        return self._chunk([self.chunk(replace(delta, lead=lead))])

    def _rest(self) -> Iterator[str]:
        """What is missing, why each choice ended, and the tokens, if they were asked for."""
        made = self.made(self.job)
        for choice, output in enumerate(made.outputs):
            text, sent = made.content(output).decode(), self.sent[choice]
            tokens = tokens_from(output.facts.get("logprobs"), sent.tokens)
            yield from self._grown(choice, text[sent.characters :], tokens)
            yield self._delta(Delta(choice, len(text), "", output.facts["finish_reason"]))
        options = self.body.stream_options
        if options is not None and options.include_usage:
            yield self._chunk([], usage(made.outputs).model_dump())

    def _chunk(self, choices: list[dict[str, Any]], used: dict[str, Any] | None = None) -> str:
        chunk = {
            "id": self.job.id,
            "object": self.chunk_object,
            "created": int(self.job.created_at.timestamp()),
            "model": self.model,
            "choices": choices,
        }
        return _event(chunk | ({"usage": used} if used is not None else {}))


def _model_of(job: Job) -> str | None:
    """As the whole answer names it."""
    with reading() as session:
        return models.reference_of(session, job) or job.model


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"

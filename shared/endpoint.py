"""What the API and a worker must agree on about an endpoint of the OpenAI API: how a body becomes
the parameters of items, and how what they made becomes its answer.

One file per endpoint in `shared/endpoints` defines an `ENDPOINT`. A single call and a line of a
batch go through the same one. No torch here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from shared import neutral
from shared.states import JobKind, Modality
from shared.tables.job import Item
from shared.tables.output import Output


class EndpointBody(neutral.OfAll):
    """A request. Fields that cannot change its answer are taken; others are refused by name."""

    model: str = Field(description="A model's name, or `name@version`.")

    def params(self, config: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The parameters of its items, for a model of this configuration. Raises Invalid."""
        raise NotImplementedError

    def names(self, seq: int) -> Mapping[str, str]:
        """What it calls some parameters of one of its items, where that differs."""
        return {}

    def form(self) -> dict[str, Any]:
        """What of it shapes only the answer."""
        return {}


@dataclass(frozen=True)
class Made:
    """What came of one request."""

    id: str
    created: int
    """Seconds since 1970."""
    form: Mapping[str, Any]
    """As the body's `form` gave it."""
    items: Sequence[tuple[Item, Sequence[Output]]]
    """In the order of the request, each item with its outputs in order."""
    content: Callable[[Output], bytes]
    """Reads an output from storage."""
    url: Callable[[Output], str]
    """The address of an output, for whoever has it."""

    @property
    def outputs(self) -> list[Output]:
        return [output for _, made in self.items for output in made]

    @property
    def model(self) -> str:
        """The version that made it: `name@version`."""
        return str(self.outputs[0].provenance["model"])


@dataclass(frozen=True)
class Delta:
    """More of one choice of a streamed answer."""

    choice: int
    start: int
    """Characters of the choice before it."""
    text: str
    finish_reason: str | None = None
    """Why it ended, if this is its end."""
    lead: str = ""
    """What the choice begins with, before what the model wrote."""
    logprobs: dict[str, Any] | None = None
    """Of the tokens that it completes, if they were asked for; see shared/pieces.py."""


Seed = Annotated[
    int,
    Field(ge=-(2**63), lt=2**63, description="Fixes the content; equal modulo 2^32 is equal."),
    AfterValidator(lambda seed: seed % 2**32),
]
"""Any that OpenAI's clients send, as one that families take."""

Stream = Annotated[bool | None, Field(description="Answer as server-sent events while it is made.")]


@dataclass(frozen=True)
class Endpoint:
    """One endpoint whose requests become generation items."""

    path: str
    modality: Modality
    body: type[EndpointBody]
    answer: Callable[[Made], dict[str, Any]]
    """The answer's JSON."""
    chunk: Callable[[Delta], dict[str, Any]] | None = None
    """A choice within a chunk of a streamed answer."""
    chunk_object: str = ""
    kind: JobKind = JobKind.GENERATION
    """Of the jobs that its requests become."""

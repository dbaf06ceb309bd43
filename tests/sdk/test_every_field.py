"""Every field that OpenAI's client can send: served, taken because it changes nothing, or refused
as not served; never unknown.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import openai
import pytest
from openai import OpenAI
from openai.types import (
    completion_create_params,
    embedding_create_params,
    image_generate_params,
)
from openai.types.chat import completion_create_params as chat_create_params
from typing_extensions import is_typeddict

from shared import neutral
from tests.sdk.conftest import WHOLE

PARAMS: dict[str, list[type]] = {
    "/completions": [
        completion_create_params.CompletionCreateParamsNonStreaming,
        completion_create_params.CompletionCreateParamsStreaming,
    ],
    "/chat/completions": [
        chat_create_params.CompletionCreateParamsNonStreaming,
        chat_create_params.CompletionCreateParamsStreaming,
    ],
    "/embeddings": [embedding_create_params.EmbeddingCreateParams],
    "/images/generations": [
        image_generate_params.ImageGenerateParamsNonStreaming,
        image_generate_params.ImageGenerateParamsStreaming,
    ],
}
PLAIN: dict[Any, list[Any]] = {
    type(None): [None],
    bool: [True, False],
    int: [1],
    float: [0.5],
    str: ["1"],
    object: [{}],
}


def fields(of: type) -> dict[str, Any]:
    """The fields of a dictionary of the client's, each with its type."""
    return get_type_hints(of, include_extras=True)


def bare(kind: Any) -> Any:
    while get_origin(kind) in {Annotated, Required}:
        kind = get_args(kind)[0]
    return kind


def values(kind: Any) -> Iterator[Any]:
    """Values of a type: each word, each kind of a union, each field of a dictionary."""
    kind = bare(kind)
    origin, of = get_origin(kind), get_args(kind)
    if kind in PLAIN:
        yield from PLAIN[kind]
    elif origin is Literal:
        yield from of
    elif origin in {Union, UnionType}:
        for each in of:
            yield from values(each)
    elif is_typeddict(kind):
        yield from dictionaries(kind)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield {"a": next(values(of[1]))}
    elif isinstance(origin, type) and issubclass(origin, Iterable | Sequence):
        yield from ([each] for each in values(of[0]))
    else:
        raise AssertionError(f"what is a {kind}?")


def dictionaries(kind: Any) -> Iterator[dict[str, Any]]:
    """One with what is required alone, then more of them for each field's values."""
    known = fields(kind)
    needed = [name for name in known if get_origin(known[name]) is Required]
    least = {name: next(values(known[name])) for name in needed}
    yield least
    for name, each in known.items():
        yield from ({**least, name: value} for value in values(each))


TAKEN = ("taken", None)


def outcome(client: OpenAI, endpoint: str, name: str, value: Any) -> tuple[str | None, str | None]:
    """Whether a field's value is taken, or the code of its refusal and the field it names."""
    try:
        client.post(endpoint, body={**WHOLE[endpoint], name: value}, cast_to=object)
    except (openai.BadRequestError, openai.NotFoundError) as error:
        return error.code, re.split(r"[.\[]", error.param or "")[0]
    except openai.InternalServerError as error:
        # A stream is answered once its first piece is there, and nobody makes one.
        return TAKEN if error.code == "busy" else (error.code, None)
    return TAKEN


REFUSED = {
    "/completions": {
        "model_not_found": {"model"},
        "invalid_value": {"prompt", "stream_options"},
        "not_served": {"frequency_penalty", "logit_bias", "presence_penalty", "suffix"},
    },
    "/chat/completions": {
        "model_not_found": {"model"},
        "invalid_value": {"messages", "stream_options", "top_logprobs"},
        "not_served": {
            "audio",
            "frequency_penalty",
            "function_call",
            "functions",
            "logit_bias",
            "messages",
            "modalities",
            "moderation",
            "presence_penalty",
            "reasoning_effort",
            "response_format",
            "tool_choice",
            "tools",
            "verbosity",
            "web_search_options",
        },
    },
    "/embeddings": {"model_not_found": {"model"}, "invalid_value": {"dimensions", "input"}},
    "/images/generations": {
        "model_not_found": {"model"},
        "invalid_value": {"model", "size"},
        "not_served": {
            "background",
            "complexity",
            "frame_count",
            "frame_duration_ms",
            "output_compression",
            "output_format",
            "partial_images",
            "quality",
            "stream",
            "svg",
        },
    },
}
"""By endpoint and code the fields of which some value is refused. Every other one is taken."""


@pytest.mark.parametrize("endpoint", WHOLE)
def test_no_field_of_the_clients_own_types_is_unknown(unheeded: OpenAI, endpoint: str) -> None:
    known = {name: kind for params in PARAMS[endpoint] for name, kind in fields(params).items()}

    refused = defaultdict(set)
    for name, kind in known.items():
        for value in {repr(value): value for value in values(kind)}.values():
            code, param = outcome(unheeded, endpoint, name, value)
            if (code, param) != TAKEN:
                assert param == name, value
                refused[code].add(name)

    assert refused == REFUSED[endpoint]


@pytest.mark.parametrize("endpoint", WHOLE)
def test_null_is_the_same_as_leaving_a_field_out(unheeded: OpenAI, endpoint: str) -> None:
    known = {name for params in PARAMS[endpoint] for name in fields(params)}

    needed = {name for name in known if outcome(unheeded, endpoint, name, None) != TAKEN}

    assert needed == {"model", "messages", "input"} & known


def test_the_guide_names_every_field_that_changes_nothing() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "openai.md").read_text(encoding="utf-8")
    lists = (neutral.OfAll, neutral.OfText, neutral.OfCompletions, neutral.OfChat, neutral.OfImages)

    names = {
        name
        for each in lists
        for name, field in each.model_fields.items()
        if field.annotation is not type(None)
    }

    assert len(names) > 20
    assert {name for name in names if f"`{name}`" not in guide} == set()

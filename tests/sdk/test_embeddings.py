"""Embeddings, with OpenAI's own client."""

import math

import openai
import pytest
from openai import OpenAI

TEXTS = ["Once upon a time", "The dog ran to the park.", "a", "The dog ran to the park. " * 12]


def dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def test_each_text_has_a_vector_of_length_one(client: OpenAI) -> None:
    found = client.embeddings.create(model="stories", input=TEXTS, encoding_format="float")

    assert (found.object, found.model) == ("list", "stories@1")
    assert [one.index for one in found.data] == [0, 1, 2, 3]
    assert {len(one.embedding) for one in found.data} == {64}
    assert all(
        math.isclose(dot(one.embedding, one.embedding), 1, rel_tol=1e-5) for one in found.data
    )
    assert found.usage.prompt_tokens == found.usage.total_tokens > len(TEXTS)


def test_the_clients_own_format_gives_the_same_numbers(client: OpenAI) -> None:
    plain = client.embeddings.create(model="stories", input=TEXTS, encoding_format="float")

    # By default the client asks for base64 and decodes it.
    packed = client.embeddings.create(model="stories", input=TEXTS)

    assert [one.embedding for one in packed.data] == [one.embedding for one in plain.data]


def test_a_text_has_the_same_vector_whatever_else_is_asked_for(client: OpenAI) -> None:
    together = client.embeddings.create(model="stories", input=TEXTS)

    alone = [client.embeddings.create(model="stories", input=text) for text in TEXTS]

    assert [one.data[0].embedding for one in alone] == [one.embedding for one in together.data]


def test_like_texts_are_nearer_than_others(client: OpenAI) -> None:
    asked = [
        "The dog ran in the park.",
        "The dog ran to the park.",
        "One day, a girl named Lucy saw a big box.",
    ]

    dog, same, other = (
        one.embedding for one in client.embeddings.create(model="stories", input=asked).data
    )

    assert dot(dog, same) > dot(dog, other)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": [[1, 2]]}, "input[0]"),
        ({"dimensions": 3}, "dimensions"),
        ({"input": "word " * 2000}, "input"),
        ({"input": ["fine", "word " * 2000]}, "input[1]"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_name(
    client: OpenAI, change: dict[str, object], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(**{"model": "stories", "input": "a", **change})

    assert refused.value.param == param

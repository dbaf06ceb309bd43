"""The vocabulary covers every text, whatever it was learnt from."""

import numpy as np
import pytest
from transformers import AutoTokenizer

from worker.dataset import Example
from worker.text.causal_lm.tokenizer import (
    encode_examples,
    learn_tokenizer,
    tokenizer_from_json,
    tokenizer_to_json,
)

TEXTS = [
    "To be, or not to be",
    "从前有一座山",
    "🙂🏳️‍🌈 e\u0301",
    " leading\n\n\ttabs  ",
    "\x00\ufffd",
]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_round_trips_through_a_vocabulary_learnt_from_another(text: str) -> None:
    tokenizer = learn_tokenizer(["only plain English words " * 20], 300)
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_the_same_documents_give_the_same_vocabulary() -> None:
    documents = [f"{text} {number}" for number in range(200) for text in TEXTS]
    first, second = (tokenizer_to_json(learn_tokenizer(documents, 600)) for _ in range(2))
    assert first == second
    assert tokenizer_to_json(tokenizer_from_json(first)) == first


def test_the_vocabulary_is_no_larger_than_asked() -> None:
    assert len(learn_tokenizer(TEXTS * 50, 320)) <= 320


def test_a_saved_tokenizer_is_one_of_hugging_face(tmp_path) -> None:
    tokenizer = learn_tokenizer(TEXTS * 50, 320)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert [again(text)["input_ids"] for text in TEXTS] == [
        tokenizer(t)["input_ids"] for t in TEXTS
    ]


def test_documents_become_one_stream_with_a_separator_before_each() -> None:
    tokenizer = learn_tokenizer(TEXTS, 300)
    stream_t, learnt_t = encode_examples(tokenizer, [Example("ab"), Example("c")], separator=0)
    assert learnt_t.all()
    assert stream_t.dtype == np.int32
    assert [int(place) for place in np.flatnonzero(stream_t == 0)] == [0, len(stream_t) - 2]


@pytest.mark.parametrize("prompt", ["user: hi\nassistant:", "问:什么", "", "half of a wo"])
def test_of_an_example_the_answers_tokens_and_its_end_are_to_be_learnt(prompt: str) -> None:
    tokenizer = learn_tokenizer(TEXTS, 300)
    answer = " 好的🙂 rd.\n"
    example = Example(prompt + answer, ((len(prompt), len(prompt + answer)),))

    stream_t, learnt_t = encode_examples(tokenizer, [example, Example("plain")], separator=0)

    second = int(np.flatnonzero(stream_t == 0)[1])
    first = learnt_t[1:second]
    assert tokenizer.decode(stream_t[1:second][first]) == answer
    assert tokenizer.decode(stream_t[1:second][~first]) == prompt
    assert learnt_t[second:].all()

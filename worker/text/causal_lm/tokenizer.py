"""The vocabulary: a byte-level BPE learnt from the documents; every Unicode text has tokens."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from shared.errors import Permanent
from worker.dataset import Example, Span
from worker.family import UNWATCHED, Run, check

END_OF_TEXT = "<|endoftext|>"
"""Stands before and between documents; the model ends its text with it."""

LEARN_FROM_CHARACTERS = 8_000_000
"""More text hardly changes a vocabulary, and learning it is paid from the training's budget."""

ENCODE_TOGETHER = 256
"""Texts handed to the tokenizer's threads at once."""


def learn_tokenizer(documents: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most `vocabulary` entries: all 256 bytes and END_OF_TEXT included."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_excerpt(documents), trainer)
    return tokenizer_from_json(tokenizer.to_str())


def tokenizer_from_json(serialised: str) -> PreTrainedTokenizerFast:
    """The tokenizer that `tokenizer_to_json` wrote."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(serialised),
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def tokenizer_to_json(tokenizer: PreTrainedTokenizerBase) -> str:
    """The whole tokenizer as text, for a snapshot."""
    return tokenizer.backend_tokenizer.to_str()


def encode_examples(
    tokenizer: PreTrainedTokenizerBase,
    examples: Iterable[Example],
    separator: int,
    run: Run = UNWATCHED,
) -> tuple[np.ndarray, np.ndarray]:
    """All examples as one stream of int32 (T,), with `separator` before each of them; and which
    tokens are to be learnt, bool (T,). Separators are: a text's end is to be learnt with it.

    Raises Stopped once `run` should stop, and Permanent where the tokenizer cannot tell which
    characters its tokens stand for.
    """
    pieces: list[np.ndarray] = [np.zeros(0, np.int32)]
    learnt: list[np.ndarray] = [np.zeros(0, np.bool_)]
    for together in _batches(examples, ENCODE_TOGETHER):
        check(run)
        in_part = any(example.learnt is not None for example in together)
        if in_part and not tokenizer.is_fast:
            raise Permanent("this model's tokenizer cannot learn answers alone; use plain text")
        encoded = tokenizer(
            [example.text for example in together],
            add_special_tokens=False,
            return_offsets_mapping=in_part,
            verbose=False,
        )
        for place, example in enumerate(together):
            ids = encoded["input_ids"][place]
            pieces.append(np.array([separator, *ids], dtype=np.int32))
            if example.learnt is None:
                learnt.append(np.ones(len(ids) + 1, np.bool_))
            else:
                learnt.append(_learnt(example, encoded["offset_mapping"][place]))
    return np.concatenate(pieces), np.concatenate(learnt)


def _learnt(example: Example, offsets: Sequence[Span]) -> np.ndarray:
    """Which tokens are to be learnt, the separator before them first: those whose last character
    is.
    """
    wanted = np.zeros(len(example.text) + 1, np.bool_)
    for start, end in example.learnt or ():
        wanted[start:end] = True
    places = np.array(offsets, np.int64).reshape(-1, 2)
    last = np.maximum(places[:, 1] - 1, places[:, 0])
    return np.concatenate([[True], wanted[last]])


def _excerpt(documents: Sequence[str]) -> Iterator[str]:
    """Whole documents spread evenly over the data set, up to LEARN_FROM_CHARACTERS in all."""
    total = sum(map(len, documents))
    every = -(-total // LEARN_FROM_CHARACTERS) or 1
    left = LEARN_FROM_CHARACTERS
    for document in documents[::every]:
        yield document[:left]
        left -= len(document)
        if left <= 0:
            return


def _batches(examples: Iterable[Example], size: int) -> Iterator[list[Example]]:
    batch: list[Example] = []
    for example in examples:
        batch.append(example)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch

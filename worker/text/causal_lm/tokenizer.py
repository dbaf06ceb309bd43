"""The vocabulary: a byte-level BPE learnt from the documents; every Unicode text has tokens."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from worker.family import UNWATCHED, Run, check

END_OF_TEXT = "<|endoftext|>"
"""Stands before and between documents; the model ends its text with it."""

LEARN_FROM_CHARACTERS = 8_000_000
"""More text hardly changes a vocabulary, and learning it is paid from the training's budget."""

ENCODE_TOGETHER = 256
"""Documents handed to the tokenizer's threads at once."""


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


def encode_documents(
    tokenizer: PreTrainedTokenizerBase,
    documents: Iterable[str],
    separator: int,
    run: Run = UNWATCHED,
) -> np.ndarray:
    """All documents as one stream of int32 (T,), with `separator` before each of them.

    Raises Stopped once `run` should stop.
    """
    pieces: list[np.ndarray] = []
    for together in _batches(documents, ENCODE_TOGETHER):
        check(run)
        encoded = tokenizer(together, add_special_tokens=False, verbose=False)["input_ids"]
        pieces.extend(np.array([separator, *ids], dtype=np.int32) for ids in encoded)
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int32)


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


def _batches(documents: Iterable[str], size: int) -> Iterator[list[str]]:
    batch: list[str] = []
    for document in documents:
        batch.append(document)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch

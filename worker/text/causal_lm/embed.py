"""Vectors of texts: the mean of a model's last hidden states, made one long.

As in generating, a pass has FAMILY.rows rows and one of few widths, so that the same text gives the
same vector whatever else is asked for.

Shapes: B rows, T tokens, D hidden size.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from shared.errors import Invalid
from shared.families.causal_lm import FAMILY, TextEmbedding
from worker.family import Part, Refusal, Request, Run, Vectors, Yielded
from worker.text.causal_lm.generate import width_for
from worker.text.causal_lm.model import LoadedText

Place = tuple[int, int]
"""Which text of which request."""


def embed(loaded: LoadedText, requests: Sequence[Request], run: Run) -> Iterator[Yielded]:
    """Yield the vectors of every request, and a Refusal for each with a text that is too long."""
    tokens: dict[Place, list[int]] = {}
    refused: set[int] = set()
    for number, request in enumerate(requests):
        params = request.params
        assert isinstance(params, TextEmbedding)
        encoded = [loaded.encode(text) for text in params.input]
        error = _too_long(loaded, encoded)
        if error is not None:
            refused.add(number)
            yield Refusal(number, error)
            continue
        tokens |= {(number, place): ids for place, ids in enumerate(encoded)}

    vectors: dict[Place, np.ndarray] = {}
    for width, places in _by_width(tokens).items():
        for start in range(0, len(places), FAMILY.rows):
            together = places[start : start + FAMILY.rows]
            rows = _pass(loaded, width, [tokens[place] for place in together])
            vectors |= dict(zip(together, rows, strict=False))
            run.progress(len(vectors) / len(tokens))
            if run.should_stop():
                return
    for number, request in enumerate(requests):
        if number not in refused:
            assert isinstance(request.params, TextEmbedding)
            yield _part(number, len(request.params.input), tokens, vectors)


def _too_long(loaded: LoadedText, encoded: Sequence[list[int]]) -> Invalid | None:
    for place, ids in enumerate(encoded):
        if len(ids) > loaded.context:
            return Invalid(
                f"input[{place}]: its {len(ids)} tokens are more than this model's context of "
                f"{loaded.context} tokens; shorten it",
                param=f"input[{place}]",
            )
    return None


def _by_width(tokens: dict[Place, list[int]]) -> dict[int, list[Place]]:
    groups: dict[int, list[Place]] = {}
    for place, ids in tokens.items():
        groups.setdefault(width_for(len(ids)), []).append(place)
    return groups


def _pass(loaded: LoadedText, width: int, texts: Sequence[list[int]]) -> np.ndarray:
    """Vectors float32 (B, D) of up to FAMILY.rows texts; the other rows are dummies."""
    ids_bt = torch.full((FAMILY.rows, width), loaded.start_id)
    mask_bt = torch.zeros((FAMILY.rows, width), dtype=torch.long)
    for row in range(FAMILY.rows):
        ids = texts[row] if row < len(texts) else [loaded.start_id]
        ids_bt[row, width - len(ids) :] = torch.tensor(ids)
        mask_bt[row, width - len(ids) :] = 1
    return loaded.mean_states(ids_bt, mask_bt).numpy()


def _part(
    number: int, count: int, tokens: dict[Place, list[int]], vectors: dict[Place, np.ndarray]
) -> Part:
    places = [(number, place) for place in range(count)]
    values_nd = np.stack([vectors[place] for place in places])
    facts = {
        "prompt_tokens": sum(len(tokens[place]) for place in places),
        "dimensions": values_nd.shape[1],
    }
    return Part(number, 0, Vectors(values_nd), 0, facts)

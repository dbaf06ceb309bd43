"""`causal_lm` without a model: everything around text models at full size, at no cost."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from shared.families import causal_lm
from shared.families.causal_lm import TextEmbedding, TextParams
from tests.families.weightless import Weightless

_DIMENSIONS = 4


class CostlessText(Weightless):
    """Repeats what it is asked to continue; every text has the same vector."""

    def generate(self, loaded: Any, requests: Sequence[Any], run: Any) -> Iterator[Any]:
        from worker.family import Part, Text, output_seed

        facts = {"prompt_tokens": 1, "completion_tokens": 1, "finish_reason": "stop"}
        for position, request in enumerate(requests):
            params: TextParams = request.params
            assert params.seed is not None, "the host draws a seed at acceptance"
            for index in range(params.n):
                seed = output_seed(params.seed, index)
                yield Part(position, index, Text(params.plain()), seed, facts)

    def embed(self, loaded: Any, requests: Sequence[Any], run: Any) -> Iterator[Any]:
        import numpy as np

        from worker.family import Part, Vectors

        for position, request in enumerate(requests):
            params: TextEmbedding = request.params
            count = len(params.input)
            values_nd = np.full((count, _DIMENSIONS), _DIMENSIONS**-0.5, np.float32)
            facts = {"prompt_tokens": count, "dimensions": _DIMENSIONS}
            yield Part(position, 0, Vectors(values_nd), 0, facts)


FAMILY = replace(causal_lm.FAMILY, implementation="tests.families.costless_text:CostlessText")

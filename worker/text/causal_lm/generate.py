"""Generating in batches of one fixed shape, so that the same request and seed give the same text.

Not the neighbours but the shape of a forward pass decides the last bits of its result. So every
pass has FAMILY.rows rows (dummies fill it up), and only requests of one shape share a pass: a width
and a cache length that follow from the request alone, rounded so that many have the same. Every
row has at least one column of padding on its left: with none, transformers would drop the attention
mask when all rows happen to be full, and so take another kernel because of the neighbours.

Shapes: B rows, T tokens, C cache slots, V entries of the vocabulary.
"""

from collections.abc import Iterator, Sequence

import torch

from shared.errors import Invalid, Permanent
from shared.families.causal_lm import FAMILY, WIDTH_STEP, TextParams
from worker.family import Refusal, Request, Run, Yielded
from worker.text.causal_lm.model import LoadedText
from worker.text.causal_lm.passes import Batch
from worker.text.causal_lm.rows import Row
from worker.text.causal_lm.sampling import choose

Shape = tuple[int, int]
"""Prompt width and cache length in tokens."""

NARROWEST, WIDE = 32, 256
"""Widths double from NARROWEST to WIDE, then grow by WIDE: prompts of everyday length share one."""


def generate(loaded: LoadedText, requests: Sequence[Request], run: Run) -> Iterator[Yielded]:
    """Yield every output as it ends, pieces of those that are watched, and a Refusal for each
    request that is too long for the context or that the model's chat template refuses.
    """
    groups: dict[Shape, list[Row]] = {}
    for number, request in enumerate(requests):
        try:
            shape, rows = _rows(loaded, number, request)
        except Permanent as error:
            yield Refusal(number, error)
        else:
            groups.setdefault(shape, []).extend(rows)

    batches = [
        (shape, rows[start : start + FAMILY.rows])
        for shape, rows in groups.items()
        for start in range(0, len(rows), FAMILY.rows)
    ]
    for done, (shape, rows) in enumerate(batches):
        yield from _run_batch(loaded, shape, rows, _Share(run, done, len(batches)))
        if run.should_stop():
            return


def _rows(loaded: LoadedText, number: int, request: Request) -> tuple[Shape, list[Row]]:
    """A request's outputs to be, and the shape of the passes that make them. Raises Permanent."""
    params = request.params
    assert isinstance(params, TextParams)
    prompt_ids = loaded.encode_request(params)
    if len(prompt_ids) + params.max_tokens > loaded.context:
        field = "prompt" if params.messages is None else "messages"
        raise Invalid(
            f"{field}: its {len(prompt_ids)} tokens and max_tokens of {params.max_tokens} are more "
            f"than this model's context of {loaded.context} tokens; shorten one of them",
            param=field,
        )
    rows = [
        Row(loaded, number, index, params, prompt_ids, request.watched) for index in range(params.n)
    ]
    return _shape(len(prompt_ids), params.max_tokens), rows


def _shape(prompt_tokens: int, max_tokens: int) -> Shape:
    width = width_for(prompt_tokens)
    return width, width + _round_up(max_tokens, WIDTH_STEP)


def width_for(tokens: int) -> int:
    """The width of the passes in which a text of so many tokens is read."""
    needed = tokens + 1  # the column of padding
    width = NARROWEST
    while width < min(needed, WIDE):
        width *= 2
    return width if needed <= WIDE else _round_up(needed, WIDE)


def _round_up(count: int, step: int) -> int:
    return -(-count // step) * step


class _Share:
    """A run as one of several equal batches sees it."""

    def __init__(self, run: Run, done: int, batches: int):
        self._run, self._done, self._batches = run, done, batches

    def should_stop(self) -> bool:
        return self._run.should_stop()

    def progress(self, fraction: float) -> None:
        self._run.progress((self._done + fraction) / self._batches)


def _run_batch(loaded: LoadedText, shape: Shape, rows: list[Row], run: Run) -> Iterator[Yielded]:
    """Yield each row's output as it ends, and pieces of it before if it is watched; return early
    once the run should stop.
    """
    temperature_b, top_p_b = torch.zeros(FAMILY.rows), torch.ones(FAMILY.rows)
    for number, row in enumerate(rows):
        temperature_b[number] = row.params.temperature
        top_p_b[number] = row.params.top_p
    temperature_b = temperature_b.to(loaded.model.device)
    likeliest = max(row.params.logprobs or 0 for row in rows)
    longest = max(row.params.max_tokens for row in rows)

    batch = Batch(loaded, shape, [row.prompt_ids for row in rows])
    logits_bv = batch.prefill()
    for step in range(1, longest + 1):
        generators = [row.generator if row.finish_reason is None else None for row in rows]
        token_b = choose(logits_bv, temperature_b, top_p_b, generators)
        for row, added in zip(rows, _describe(logits_bv, token_b, likeliest), strict=False):
            if row.finish_reason is None:
                row.add(*added)
                yield from row.made()

        run.progress(step / longest)
        if run.should_stop() or all(row.finish_reason for row in rows):
            return
        logits_bv = batch.step(token_b)


def _describe(
    logits_bv: torch.Tensor, token_b: torch.Tensor, likeliest: int
) -> Iterator[tuple[int, float, list[tuple[int, float]]]]:
    """Each row's token, its log-probability, and the `likeliest` tokens with theirs."""
    logprob_bv = torch.log_softmax(logits_bv, dim=-1)
    logprobs = logprob_bv.gather(-1, token_b[:, None])[:, 0].tolist()
    tokens = token_b.tolist()
    if not likeliest:
        yield from ((token, value, []) for token, value in zip(tokens, logprobs, strict=True))
        return
    value_bk, index_bk = logprob_bv.topk(likeliest, dim=-1)
    for row, (token, value) in enumerate(zip(tokens, logprobs, strict=True)):
        pairs = zip(index_bk[row].tolist(), value_bk[row].tolist(), strict=True)
        yield token, value, list(pairs)

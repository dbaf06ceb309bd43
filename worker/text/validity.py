"""How a language model does on a file that was given for that: the loss and accuracy that OpenAI's
clients know.
"""

from collections.abc import Sequence

from worker.dataset import Example
from worker.family import Run
from worker.quality import Metric
from worker.text.causal_lm.model import LoadedText
from worker.text.causal_lm.scoring import Cost, cost_of

OVERLAP = 0.5
"""Of the windows in which excerpts are read while a model is trained."""


def validity(
    loaded: LoadedText, some: Cost, whole: Sequence[Example] | None, run: Run
) -> dict[str, Metric]:
    """Mean loss in nats and share of right guesses, a token, over an excerpt, of which `some` is
    the cost, and over the whole; None: the excerpt is the whole.

    Raises Stopped once `run` should stop.
    """
    full = some if whole is None else cost_of(loaded, whole, OVERLAP, run)
    return _told("valid", some) | _told("full_valid", full)


def _told(name: str, cost: Cost) -> dict[str, Metric]:
    return {
        f"{name}_loss": Metric(cost.mean_loss, "lower", cost.tokens),
        f"{name}_mean_token_accuracy": Metric(cost.accuracy, "higher", cost.tokens),
    }

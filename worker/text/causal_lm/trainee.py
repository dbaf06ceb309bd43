"""A language model in training: one step, its schedule, and its whole state.

Shapes: B windows of a step, T tokens of a window, V entries of the vocabulary.
"""

import copy
import math
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from shared import chat
from shared.families.causal_lm import TextTraining
from worker.dataset import TextDataset
from worker.family import UNWATCHED, Run, Snapshot
from worker.replay import Replayed
from worker.text.causal_lm.model import LoadedText
from worker.text.causal_lm.network import new_llama
from worker.text.causal_lm.optimizer import optimizers_of
from worker.text.causal_lm.step import learn
from worker.text.causal_lm.tokenizer import (
    encode_examples,
    learn_tokenizer,
    tokenizer_from_json,
    tokenizer_to_json,
)
from worker.text.causal_lm.windows import NO_TARGET, Windows

WARM_UP_STEPS = 30
FINAL_RATE = 0.02
"""The schedule ends at this part of its peak."""

GRADIENT_NORM = 1.0
EMA_DECAY = 0.98
FINE_TUNING_RATE = 0.1
"""A base's weights are near good ones already: the peak is this part of a new model's."""


class TextTrainee:
    """Implements `worker.family.Trainee`."""

    def __init__(
        self,
        dataset: TextDataset,
        base: LoadedText | None,
        params: TextTraining,
        device: torch.device,
        run: Run = UNWATCHED,
    ):
        self._params = params
        self._run = run
        self._device = device
        self._examples = dataset.examples("train")
        self._learns_chats = any(
            example.learnt and chat.is_rendered(example.text) for example in self._examples
        )
        self._steps = 0
        self.trained_tokens: int | None = 0
        self._earlier_steps = int(base.config.get("trained_steps") or 0) if base else 0
        self._peak = params.learning_rate * (FINE_TUNING_RATE if base else 1)
        if base is None:
            texts = [example.text for example in self._examples]
            tokenizer: PreTrainedTokenizerBase = learn_tokenizer(texts, params.vocabulary)
            model: PreTrainedModel = new_llama(params, tokenizer)
        else:
            tokenizer, model = base.tokenizer, copy.deepcopy(base.model).float()
        self._model: PreTrainedModel = model.train()
        self._model.to(device)
        # The EMA is itself the model that is served.
        self._served = copy.deepcopy(self._model).eval().requires_grad_(False)
        self._optimizers = optimizers_of(self._model, params.learning_rate)
        self._use_tokenizer(tokenizer)
        step = partial(learn, self._model)
        self._learn = Replayed(step, device, fixed=self.loaded().is_fixed)

    def _use_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        params = self._params
        context = min(params.context, self._model.config.max_position_embeddings)
        separator = self.loaded().start_id
        stream_t, learnt_t = encode_examples(tokenizer, self._examples, separator, self._run)
        self._windows = Windows(stream_t, context, params.batch_size, params.seed, learnt_t)
        self.epoch_steps = self._windows.per_epoch

    def advance(self, fraction: float, learning_rate_scale: float) -> dict[str, float]:
        """One step on B windows. Values that are not numbers leave the weights as they were."""
        inputs_bt, targets_bt = self._windows.batch(self._steps)
        learnt = int((targets_bt != NO_TARGET).sum())
        loss, right, gradients = self._learn(inputs_bt, targets_bt)
        for weight, gradient in zip(self._model.parameters(), gradients, strict=True):
            weight.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), GRADIENT_NORM)

        rate = self._peak * learning_rate_scale * _schedule(self._steps, fraction)
        if math.isfinite(norm):
            for optimizer in self._optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
        self._model.zero_grad(set_to_none=True)

        self._steps += 1
        if self.trained_tokens is not None:
            self.trained_tokens += learnt
        self._follow()
        return {
            "loss": float(loss),
            "accuracy": int(right) / max(1, learnt),
            "gradient_norm": float(norm),
        }

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the served weights towards the trained ones; faster while there are few steps."""
        decay = min(EMA_DECAY, self._steps / (self._steps + 10))
        served = list(self._served.parameters())
        torch._foreach_lerp_(served, list(self._model.parameters()), 1 - decay)

    def snapshot(self) -> Snapshot:
        tensors: dict[str, torch.Tensor] = {}
        for name, weight in self._model.named_parameters():
            tensors[f"weights/{name}"] = weight.detach()
        for name, weight in self._served.named_parameters():
            tensors[f"served/{name}"] = weight
        for name, weight in self._model.named_parameters():
            for optimizer in self._optimizers:
                for key, value in optimizer.state.get(weight, {}).items():
                    tensors[f"optimizer/{name}/{key}"] = value
        # Copies: the next step changes these tensors in place.
        copies = {key: value.to("cpu", copy=True).contiguous() for key, value in tensors.items()}
        facts = {
            "steps": self._steps,
            "trained_tokens": self.trained_tokens,
            "tokenizer": tokenizer_to_json(self._tokenizer),
        }
        return Snapshot(copies, facts)

    def restore(self, snapshot: Snapshot) -> None:
        if snapshot.facts["tokenizer"] != tokenizer_to_json(self._tokenizer):
            self._use_tokenizer(tokenizer_from_json(snapshot.facts["tokenizer"]))
        self._steps = snapshot.facts["steps"]
        # Snapshots of older releases did not count them.
        self.trained_tokens = snapshot.facts.get("trained_tokens")
        with torch.no_grad():
            for kind, model in (("weights", self._model), ("served", self._served)):
                for name, weight in model.named_parameters():
                    weight.copy_(snapshot.tensors[f"{kind}/{name}"])
        owners = {
            name: (weight, optimizer)
            for optimizer in self._optimizers
            for group in optimizer.param_groups
            for name, weight in self._model.named_parameters()
            if any(weight is one for one in group["params"])
        }
        for optimizer in self._optimizers:
            optimizer.state.clear()
        for key, value in snapshot.tensors.items():
            if key.startswith("optimizer/"):
                _, name, entry = key.split("/")
                weight, optimizer = owners[name]
                # AdamW counts its steps in a tensor that stays on the CPU.
                home = "cpu" if value.ndim == 0 else self._device
                optimizer.state[weight][entry] = value.to(home, copy=True)

    def loaded(self) -> LoadedText:
        """The model with the EMA's weights, until the next `advance`."""
        return LoadedText(self._served, self._tokenizer, self._served.config.to_dict())

    def save(self, folder: Path) -> None:
        """A Hugging Face folder; `config.json` also says `trained_steps`."""
        self._served.config.trained_steps = self._earlier_steps + self._steps
        self._served.save_pretrained(folder)
        tokenizer = copy.copy(self._tokenizer)
        if self._learns_chats:
            # What it learnt in the plain template it is asked in that, whatever its base brought.
            tokenizer.chat_template = None
        tokenizer.save_pretrained(folder)


def _schedule(steps: int, fraction: float) -> float:
    """Linear warm-up over the first steps, then half a cosine down to FINAL_RATE."""
    warm = min(1.0, (steps + 1) / WARM_UP_STEPS)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))
    return warm * (FINAL_RATE + (1 - FINAL_RATE) * cosine)

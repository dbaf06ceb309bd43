"""A language model ready to run: weights, tokenizer, and what differs between architectures.

Shapes: B rows, T tokens, C cache slots, V entries of the vocabulary.
"""

import inspect
from collections.abc import Sequence
from functools import cached_property

import torch
from jinja2 import TemplateError
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StaticCache
from transformers.cache_utils import StaticLayer

from shared import chat
from shared.errors import Invalid
from shared.families.causal_lm import TextParams
from worker.family import JsonDict

TAIL = 8
"""Tokens before a continuation that are decoded with it: some tokenizers drop a leading space."""

INCOMPLETE = "\ufffd"
"""What a decoder puts in the place of bytes that are not UTF-8."""


class LoadedText:
    """A causal language model with its tokenizer, in evaluation mode on its device."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: JsonDict
    ):
        self.model = model
        self.tokenizer = tokenizer
        self.config = config

    @property
    def memory_bytes(self) -> int:
        return sum(p.numel() * p.element_size() for p in self.model.parameters())

    @property
    def context(self) -> int:
        """Tokens of prompt and continuation together, at most."""
        return int(self.config["max_position_embeddings"])

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end a text."""
        named = self.model.generation_config.eos_token_id
        if named is None:
            named = self.tokenizer.eos_token_id
        many = named if isinstance(named, list) else [named]
        return frozenset(int(token) for token in many if token is not None)

    @cached_property
    def start_id(self) -> int:
        """The token that stands before a text, for an empty prompt."""
        begin = self.tokenizer.bos_token_id
        return int(begin) if begin is not None else min(self.end_ids, default=0)

    def encode(self, prompt: str) -> list[int]:
        """A prompt's tokens, at least one."""
        return self.tokenizer(prompt, verbose=False)["input_ids"] or [self.start_id]

    def encode_request(self, params: TextParams) -> list[int]:
        """The tokens of a prompt, or of a conversation by the tokenizer's own chat template, else
        the plain one. Raises Permanent when the template refuses it.
        """
        if params.messages is None or not self.tokenizer.chat_template:
            return self.encode(params.plain())
        messages = [message.model_dump(exclude_none=True) for message in params.messages]
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise Invalid(
                f"messages: refused by the model's chat template: {error}", param="messages"
            ) from error
        return self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    def stops_of(self, params: TextParams) -> list[str]:
        """The texts before which a continuation ends."""
        plain = params.messages is not None and not self.tokenizer.chat_template
        return [*params.stop, *chat.STOPS] if plain else params.stop

    def decode_after(self, prompt_ids: Sequence[int], ids: Sequence[int]) -> str:
        """The text that `ids` add to the prompt, special tokens left out.

        Bytes at the end that are not yet a whole character are dropped.
        """
        return self.decode_all_after(prompt_ids, ids).rstrip(INCOMPLETE)

    def decode_all_after(self, prompt_ids: Sequence[int], ids: Sequence[int]) -> str:
        """The same, with INCOMPLETE in the place of such bytes."""
        tail = list(prompt_ids[-TAIL:])
        before, both = self._decode(tail), self._decode([*tail, *ids])
        return both[len(before) :] if both.startswith(before) else self._decode(ids)

    def spell(self, token: int) -> str:
        """One token as text, or the vocabulary's own spelling of a part of a character."""
        text = self.decode_after(self._anchor, [token])
        return text or str(self.tokenizer.convert_ids_to_tokens(token))

    @cached_property
    def _anchor(self) -> list[int]:
        return self.tokenizer("a", add_special_tokens=False)["input_ids"]

    def _decode(self, ids: Sequence[int]) -> str:
        text = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)

    @cached_property
    def is_fixed(self) -> bool:
        """Whether a pass computes the same whatever it reads, in one piece: it does not where
        tokens choose their experts, where frequencies follow the length of the text, or where a
        window slides.
        """
        if not self.model._can_compile_fullgraph:
            return False
        rope = getattr(self.model.config, "rope_parameters", None) or {}
        kinds = {one.get("rope_type") for one in (rope, *rope.values()) if isinstance(one, dict)}
        has_experts = any("expert" in name for name in self.model.config.to_dict())
        is_plain = all(type(layer) is StaticLayer for layer in self.new_cache(1).layers)
        return is_plain and not has_experts and not kinds & {"dynamic", "longrope"}

    def new_cache(self, slots: int) -> StaticCache:
        return StaticCache(config=self.model.config, max_cache_len=slots)

    def next_logits(
        self,
        ids_bt: torch.Tensor,
        mask_bc: torch.Tensor,
        position_bt: torch.Tensor,
        cache: StaticCache,
    ) -> torch.Tensor:
        """Float32 logits (B, V) of the token after the last of `ids_bt`; fills the cache."""
        arguments = {self._cache_argument: cache, **self._last_alone}
        with torch.inference_mode():
            output = self.model(
                input_ids=ids_bt,
                attention_mask=mask_bc,
                position_ids=position_bt,
                use_cache=True,
                **arguments,
            )
            return output.logits[:, -1].float()

    @cached_property
    def _cache_argument(self) -> str:
        # transformers 5.24 renamed it; earlier releases of 5 know only the old name.
        return "cache" if self._accepts("cache") else "past_key_values"

    @cached_property
    def _last_alone(self) -> JsonDict:
        return {"logits_to_keep": 1} if self._accepts("logits_to_keep") else {}

    def _accepts(self, argument: str) -> bool:
        return argument in inspect.signature(self.model.forward).parameters

    def mean_states(self, ids_bt: torch.Tensor, mask_bt: torch.Tensor) -> torch.Tensor:
        """The mean of the last hidden states over each row's text, float32 (B, D), one long."""
        device = self.model.device
        mask_bt = mask_bt.to(device)
        position_bt = (mask_bt.cumsum(dim=-1) - 1).clamp(min=0)
        with torch.inference_mode():
            state_btd = self.model.base_model(
                input_ids=ids_bt.to(device),
                attention_mask=mask_bt,
                position_ids=position_bt,
                use_cache=False,
            ).last_hidden_state.float()
            sum_bd = (state_btd * mask_bt[:, :, None]).sum(dim=1)
            mean_bd = sum_bd / mask_bt.sum(dim=1, keepdim=True)
            return torch.nn.functional.normalize(mean_bd, dim=-1).cpu()

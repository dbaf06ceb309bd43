"""A new language model: a Llama with random weights."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from shared.errors import Invalid
from shared.families.causal_lm import TextTraining


def new_llama(params: TextTraining, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """A Llama with random weights that `params.seed` fixes."""
    if params.width % (2 * params.heads):
        raise Invalid(
            f"width: {params.width} is not a multiple of twice the {params.heads} heads",
            param="width",
        )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=params.width,
        intermediate_size=-(-params.width * 8 // 3 // 32) * 32,
        num_hidden_layers=params.layers,
        num_attention_heads=params.heads,
        num_key_value_heads=params.heads,
        max_position_embeddings=params.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        return LlamaForCausalLM(config)

"""Reading a Hugging Face folder safely: safetensors and JSON; no pickle, no code, no network."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from shared.errors import Permanent
from worker.text.causal_lm.model import LoadedText

UNSAFE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py"})
"""Files that could run code when they are read. They are refused rather than ignored."""


def load(weights: Path, device: torch.device) -> LoadedText:
    """Load any causal language model that transformers has. Raises Permanent with the reason."""
    _refuse_unsafe(weights)
    config = _config(weights)
    model = _model(weights, config, device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(weights, local_files_only=True)
    except Exception as error:  # a folder of a user's can break a tokenizer in any way
        raise Permanent(f"The folder's tokenizer cannot be read: {error}") from error
    described = json.loads((weights / "config.json").read_text(encoding="utf-8"))
    described["max_position_embeddings"] = config.max_position_embeddings
    return LoadedText(model, tokenizer, described)


def _refuse_unsafe(weights: Path) -> None:
    unsafe = sorted(path.name for path in weights.iterdir() if path.suffix in UNSAFE_SUFFIXES)
    if unsafe:
        raise Permanent(
            f"The folder holds {', '.join(unsafe)}: weights are read from safetensors alone, and "
            "files that could run code are refused. Convert the weights and remove these files."
        )
    if not any(weights.glob("*.safetensors")):
        raise Permanent("The folder holds no safetensors file: weights are read from nothing else.")


def _config(weights: Path) -> PreTrainedConfig:
    try:
        described: dict[str, Any] = json.loads((weights / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Permanent(f"The folder's config.json cannot be read: {error}") from error
    name = described.get("model_type")
    if name not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or name not in CONFIG_MAPPING:
        raise Permanent(
            f"config.json names model_type {name!r}, which is no causal language model."
        )
    for key in ("auto_map", "quantization_config"):
        if key in described:
            raise Permanent(f"config.json has {key!r}, which this family does not read.")
    try:
        config = AutoConfig.from_pretrained(weights, local_files_only=True)
    except Exception as error:
        raise Permanent(f"The folder's config.json cannot be read: {error}") from error
    if not getattr(config, "max_position_embeddings", None):
        raise Permanent(f"A model of type {name!r} states no context length: it is not supported.")
    return config


def _model(weights: Path, config: PreTrainedConfig, device: torch.device) -> PreTrainedModel:
    logging.disable_progress_bar()
    try:
        found: Any = AutoModelForCausalLM.from_pretrained(
            weights,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            # A CPU without bfloat16 of its own is many times slower in it than in float32.
            dtype=torch.float32 if device.type == "cpu" else "auto",
            output_loading_info=True,
        )
    except Exception as error:
        raise Permanent(f"The folder's weights cannot be loaded: {error}") from error
    model, report = found
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:5])
        raise Permanent(
            f"The folder's weights lack tensors that its config.json asks for: {missing}"
        )
    if not model._can_compile_fullgraph:
        raise Permanent(
            f"{type(model).__name__} cannot run with a cache of fixed length, without which "
            "the same seed would not give the same text: it is not supported."
        )
    return model.to(device).eval()

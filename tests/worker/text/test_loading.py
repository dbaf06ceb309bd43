"""Which folders are models, and which are refused by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
)

from shared.errors import Permanent
from worker.text.causal_lm.family import CausalLm
from worker.text.causal_lm.model import LoadedText

CPU = torch.device("cpu")


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of a good folder, to be broken."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_saved_model_is_one_of_plain_hugging_face(tiny_folder, tiny) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder, local_files_only=True)
    ids_bt = torch.tensor([tokenizer("The ships")["input_ids"]])
    with torch.inference_mode():
        assert torch.equal(model(ids_bt).logits, tiny.model(ids_bt).logits)
    assert json.loads((tiny_folder / "config.json").read_text())["trained_steps"] == 60


def test_a_loaded_model_knows_its_context_and_size(tiny) -> None:
    assert tiny.config["max_position_embeddings"] == tiny.context == 64
    assert tiny.memory_bytes == 4 * sum(p.numel() for p in tiny.model.parameters())


SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
}
GROWING = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}


@pytest.mark.parametrize(
    ("config", "is_fixed"),
    [
        (LlamaConfig(**SIZES), True),
        (MistralConfig(**SIZES, sliding_window=None), True),
        (MistralConfig(**SIZES, sliding_window=64), False),
        (MixtralConfig(**SIZES, num_local_experts=2), False),
        (LlamaConfig(**SIZES, rope_parameters=GROWING), False),
    ],
    ids=["plain", "no window", "window", "experts", "growing frequencies"],
)
def test_a_pass_is_fixed_unless_what_it_reads_decides_what_it_does(tiny, config, is_fixed) -> None:
    model = AutoModelForCausalLM.from_config(config)
    assert LoadedText(model, tiny.tokenizer, {}).is_fixed == is_fixed


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pkl", "modeling_llama.py"])
def test_files_that_could_run_code_are_refused_by_name(folder, name) -> None:
    (folder / name).write_bytes(b"\x80\x04.")
    with pytest.raises(Permanent, match=name):
        CausalLm().load(folder, CPU)


def test_a_folder_without_safetensors_is_refused(folder) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(Permanent, match="no safetensors"):
        CausalLm().load(folder, CPU)


@pytest.mark.parametrize("name", ["resnet", "t5", None])
def test_another_architecture_is_refused_by_name(folder, name) -> None:
    change_config(folder, model_type=name)
    with pytest.raises(Permanent, match=repr(name)):
        CausalLm().load(folder, CPU)


def test_code_of_the_folder_is_refused(folder) -> None:
    change_config(folder, auto_map={"AutoModelForCausalLM": "other/code--model.Model"})
    with pytest.raises(Permanent, match="auto_map"):
        CausalLm().load(folder, CPU)


def test_weights_with_a_tensor_missing_are_refused(folder) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("model.norm.weight")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(Permanent, match=r"model\.norm\.weight"):
        CausalLm().load(folder, CPU)


def test_damaged_weights_are_refused(folder) -> None:
    (folder / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(Permanent, match="cannot be loaded"):
        CausalLm().load(folder, CPU)


def test_a_folder_without_a_tokenizer_is_refused(folder) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(Permanent, match="tokenizer"):
        CausalLm().load(folder, CPU)

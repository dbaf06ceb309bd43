"""Importing a model: a folder of safetensors and JSON from outside becomes a version."""

import json
from pathlib import Path
from typing import Any

from shared.errors import Invalid
from shared.family import Family
from shared.ids import new_id
from shared.services.models import NewVersion
from shared.storage import put_files

TAKEN = frozenset({".json", ".safetensors", ".model", ".txt"})
PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npy", ".npz"})


def store_folder(tenant_id: str, folder: Path, family: Family) -> NewVersion:
    """Put a model folder into storage and describe it; register the result to make it a version.

    Only safetensors are taken as weights: loading a pickle would run what is in it.
    Raises Invalid when the folder is not such a model.
    """
    paths = _check(folder)
    config = _config(folder)
    prefix = f"{tenant_id}/models/{new_id('version')}"
    files = put_files(paths, prefix)
    card = {"imported_from": folder.name, "family": family.name}
    return NewVersion(prefix, files, config, card)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise Invalid(f"{folder / 'config.json'} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise Invalid(f"{folder / 'config.json'} is not a JSON object")
    return config


def _check(folder: Path) -> list[Path]:
    """The files to take."""
    if not folder.is_dir():
        raise Invalid(f"{folder} is not a folder")
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    if not (folder / "config.json").is_file():
        raise Invalid(f"{folder} has no config.json; give the folder of one model")
    if not any(path.suffix == ".safetensors" for path in paths):
        pickled = [path.name for path in paths if path.suffix in PICKLED]
        named = f"; {pickled[0]} is a pickle, which could run anything" if pickled else ""
        raise Invalid(f"{folder} has no .safetensors weights{named}; convert them first")
    return [path for path in paths if path.suffix in TAKEN]

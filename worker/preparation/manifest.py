"""The manifest of a prepared set, which `worker.dataset` opens it by."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.states import Modality
from worker.preparation.split import FORMAT


def write_manifest(
    folder: Path, modality: Modality, name: str, counts: Mapping[str, int], facts: Mapping[str, Any]
) -> None:
    """Write `manifest.json`: format, modality, hash, counts per split, and the modality's facts."""
    manifest = {"format": FORMAT, "modality": modality, "hash": name, "counts": counts, **facts}
    text = json.dumps(manifest, ensure_ascii=False, indent=2)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")

"""Importing a model's folder: what is no model is refused, and leaves nothing."""

from pathlib import Path

import pytest

from shared import catalog
from shared.errors import Invalid
from shared.services import imports
from shared.storage import storage
from shared.tables.tenant import Tenant


def folder(at: Path, **files: bytes) -> Path:
    made = at / "model"
    made.mkdir()
    for name, content in files.items():
        (made / name.replace("__", ".")).write_bytes(content)
    return made


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"model__safetensors": b"x"}, "no config.json"),
        ({"config__json": b"{}"}, "no .safetensors weights"),
        ({"config__json": b"{}", "model__bin": b"x"}, "model.bin is a pickle"),
        ({"config__json": b"{", "model__safetensors": b"x"}, "cannot be read"),
        ({"config__json": b"\xff", "model__safetensors": b"x"}, "cannot be read"),
        ({"config__json": b"[]", "model__safetensors": b"x"}, "not a JSON object"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_and_nothing_is_stored(
    tenant: Tenant, tmp_path: Path, files: dict[str, bytes], named: str
) -> None:
    with pytest.raises(Invalid, match=named):
        imports.store_folder(tenant.id, folder(tmp_path, **files), catalog.family("causal_lm"))

    assert list(storage().list("")) == []

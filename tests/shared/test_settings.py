"""Settings: from the environment, and from files for what should not stand there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import Permanent
from shared.settings import settings
from tests.settings import forget_settings

KEY = "of-a-file-" + "0" * 32


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of secrets that the settings name."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setenv("ATELIER_SECRETS", str(folder))
    monkeypatch.delenv("ATELIER_SECRET_KEY", raising=False)
    return folder


@pytest.fixture(autouse=True)
def _read_anew() -> Iterator[None]:
    forget_settings()
    yield
    forget_settings()


@pytest.mark.parametrize("name", ["ATELIER_SECRET_KEY", "atelier_secret_key"])
def test_a_secret_is_read_from_the_file_that_is_named_like_its_variable(
    folder: Path, name: str
) -> None:
    (folder / name).write_text(f"{KEY}\n")

    assert settings().required("secret_key") == KEY


def test_the_environment_goes_before_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "ATELIER_SECRET_KEY").write_text(KEY)
    monkeypatch.setenv("ATELIER_SECRET_KEY", "of-the-environment-" + "0" * 32)

    assert settings().required("secret_key").startswith("of-the-environment")


def test_a_bad_secret_in_a_file_is_refused_without_repeating_it(folder: Path) -> None:
    (folder / "ATELIER_SECRET_KEY").write_text("too-short")

    with pytest.raises(Permanent, match=r"ATELIER_SECRET_KEY: .*32 characters") as refused:
        settings()

    assert "too-short" not in refused.value.message


def test_a_folder_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ATELIER_SECRETS", str(tmp_path / "nowhere"))

    with pytest.raises(Permanent, match=r"ATELIER_SECRETS: there is no folder .*nowhere"):
        settings()

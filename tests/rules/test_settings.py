"""Every setting is in the README's table, as it stands in the code."""

from pathlib import Path

import pytest

from shared.settings import Settings
from shared.settings_table import BEGIN, END, table

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_readmes_table_is_the_one_that_the_settings_give() -> None:
    if not README.is_file():
        pytest.skip("README.md is not written yet")
    text = README.read_text(encoding="utf-8")

    written = text.partition(BEGIN)[2].partition(END)[0].strip()

    assert written == table(), "run: python -m shared.settings_table, and put it into README.md"


def test_every_setting_says_what_it_means() -> None:
    silent = [name for name, field in Settings.model_fields.items() if not field.description]

    assert silent == []
    assert len(table().splitlines()) == 2 + len(Settings.model_fields)


def test_no_meaning_breaks_the_table() -> None:
    assert all(line.count("|") == 4 for line in table().splitlines())

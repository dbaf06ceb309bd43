"""The examples of docs/openai.md run as they are written."""

import re
from pathlib import Path

import pytest
from openai import OpenAI

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openai.md"


def test_every_example_runs(
    client: OpenAI,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", str(client.base_url))
    monkeypatch.setenv("OPENAI_API_KEY", client.api_key)
    examples = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    assert len(examples) == 4

    exec(compile("\n".join(examples), str(DOCUMENT), "exec"), {})

    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed if line.startswith("question-")] == [
        "question-0",
        "question-1",
        "question-2",
    ]
    assert 0 < float(printed[-1]) < 1

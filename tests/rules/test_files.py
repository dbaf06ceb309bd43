"""No file and no function grows out of hand: the tail is what makes a house hard to live in."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "shared", "worker", "migrations", "tests")
MOST_LINES = 400
NOTICED_LINES = 200
MOST_FUNCTION_LINES = 60
LONG_BY_NATURE = {"network.py", "0001_create_every_table.py"}
"""Networks, and the one migration that lists every table."""


def files() -> Iterator[tuple[Path, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    lengths = {path: text.count("\n") for path, text in files()}
    assert len(lengths) > 100, "the files were not found"

    noticed = sorted((lines, str(path)) for path, lines in lengths.items() if lines > NOTICED_LINES)
    print(f"over {NOTICED_LINES} lines:", *(f"{lines} {path}" for lines, path in noticed), sep="\n")

    too_long = [
        path
        for lines, path in noticed
        if lines > MOST_LINES and Path(path).name not in LONG_BY_NATURE
    ]
    assert too_long == []


def test_no_function_is_longer_than_sixty_lines() -> None:
    too_long = [
        f"{path}:{node.lineno} {node.name}"
        for path, text in files()
        if path.name not in LONG_BY_NATURE
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > MOST_FUNCTION_LINES
    ]

    assert too_long == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path) for path, text in files() if text and not ast.get_docstring(ast.parse(text))
    ]

    assert silent == []

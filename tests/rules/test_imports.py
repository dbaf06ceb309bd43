"""Who may import whom: api -> shared <- worker, torch only in worker, Flask only in api."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "shared", "worker", "migrations")
MAY_IMPORT = {
    "api": {"api", "shared", "migrations"},
    "shared": {"shared"},
    "worker": {"worker", "shared"},
    "migrations": {"migrations", "shared"},
}
ONLY_IN_WORKER = ("torch", "transformers", "tokenizers", "safetensors", "pyarrow")
ONLY_IN_API = ("flask", "werkzeug", "gunicorn")
READS_ENVIRONMENT = {"environ", "environb", "getenv", "putenv"}
READER = Path("shared/settings.py")

Import = tuple[Path, int, str]
"""File, line, and the module's full name."""


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """Every source file of the product, by its path in the project."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path, tree: ast.Module) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((path, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are written from the root"
            yield path, node.lineno, node.module or ""


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    """Every import of the product, at whatever depth it stands in its file."""
    found = [each for path, tree in sources() for each in imports_of(path, tree)]
    assert len(found) > 100, "the sources were not found"
    return found


def say(found: list[Import]) -> list[str]:
    return [f"{path}:{line} imports {module}" for path, line, module in found]


def top(module: str) -> str:
    return module.partition(".")[0]


def test_packages_import_only_downwards(imports: list[Import]) -> None:
    wrong = [
        (path, line, module)
        for path, line, module in imports
        if top(module) in PACKAGES and top(module) not in MAY_IMPORT[path.parts[0]]
    ]

    assert say(wrong) == []


@pytest.mark.parametrize(("home", "libraries"), [("worker", ONLY_IN_WORKER), ("api", ONLY_IN_API)])
def test_heavy_libraries_stay_in_their_room(
    imports: list[Import], home: str, libraries: tuple[str, ...]
) -> None:
    of_these = [each for each in imports if top(each[2]).startswith(libraries)]

    assert {path.parts[0] for path, _, _ in of_these if path.parts[0] == home} == {home}
    assert say([each for each in of_these if each[0].parts[0] != home]) == []


def test_nothing_of_the_product_imports_tests(imports: list[Import]) -> None:
    assert say([each for each in imports if top(each[2]) == "tests"]) == []


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        path
        for path, tree in sources()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and _names_environment(node))
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and _takes_environment(node))
    }

    assert readers == {READER}


def _names_environment(node: ast.Attribute) -> bool:
    """The process's own: a request has something else of that name."""
    is_of_request = isinstance(node.value, ast.Name) and node.value.id == "request"
    return node.attr in READS_ENVIRONMENT and not is_of_request


def _takes_environment(node: ast.ImportFrom) -> bool:
    return any(alias.name in READS_ENVIRONMENT for alias in node.names)


def test_what_runs_without_a_model_runs_without_torch() -> None:
    modules = "worker.sweeper, worker.deliveries, worker.upkeep, worker.runner, worker.batches"
    asked = f"import sys, {modules}; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", asked], cwd=ROOT, check=False).returncode == 0

"""The tables of standards beside this file are whole, and the tests that they name are there."""

import ast
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REASONS = ("by design: ", "does not apply: ", "not done: ")
RISKS = {f"API{number}" for number in range(1, 11)}

# Of each chapter of ASVS 5.0.0, how many requirements of levels 1 and 2 its sections have; those
# of level 3 come last in their sections.
ASVS = {
    1: (2, 9, 11, 3, 2),
    2: (3, 3, 4, 1),
    3: (0, 2, 4, 6, 5, 0, 2),
    4: (3, 1, 2, 4),
    5: (1, 3, 2, 3),
    6: (3, 12, 4, 4, 5, 3, 0, 4),
    7: (3, 4, 2, 5, 2, 2),
    8: (2, 3, 1, 1),
    9: (3, 4),
    10: (2, 2, 4, 11, 5, 2, 3),
    11: (2, 3, 3, 4, 1, 1),
    12: (3, 2, 4),
    13: (1, 5, 2, 5),
    14: (2, 4, 3),
    15: (3, 3, 7),
    16: (1, 5, 4, 3, 3),
    17: (1, 4, 2),
}
REQUIREMENTS = {
    f"V{chapter}.{section}.{number}"
    for chapter, counts in ASVS.items()
    for section, count in enumerate(counts, start=1)
    for number in range(1, count + 1)
}


def rows(table: str) -> list[tuple[str, str]]:
    """Number, and by what it is shown, of every line of a table."""
    lines = (HERE / table).read_text(encoding="utf-8").partition("| --- |")[2].splitlines()[1:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [(number, shown) for number, _, shown in cells]


def covers(number: str) -> set[str]:
    """The requirements for which a line stands: one, or all of a section or a chapter."""
    below = {each for each in REQUIREMENTS if each.startswith(f"{number}.")}
    return below or {number}


def test_every_risk_has_one_line() -> None:
    numbers = [number for number, _ in rows("owasp.md")]

    assert set(numbers) == RISKS
    assert len(numbers) == len(RISKS)


def test_every_requirement_of_the_first_two_levels_has_one_line() -> None:
    covered = Counter(each for number, _ in rows("asvs.md") for each in covers(number))

    assert set(covered) - REQUIREMENTS == set(), "these are not of the standard"
    assert REQUIREMENTS - set(covered) == set(), "these have no line"
    assert [each for each, times in covered.items() if times > 1] == []


@pytest.mark.parametrize("table", ["owasp.md", "asvs.md"])
def test_every_line_names_tests_that_are_there_or_a_reason(table: str) -> None:
    faults = []
    for number, shown in rows(table):
        if shown.startswith(REASONS):
            faults += [number] if len(shown.partition(": ")[2]) < 5 else []
            continue
        named = [each.strip("`") for each in shown.split("<br>")]
        faults += [f"{number}: {each}" for each in named if each not in beside(each)]

    assert faults == []


@cache
def beside(node: str) -> frozenset[str]:
    """The ids of all tests of the file in which a test should be."""
    path = node.partition("::")[0]
    if not (ROOT / path).is_file():
        return frozenset()
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    classes = [(f"{path}::{each.name}", each.body) for each in tree.body if is_class(each)]
    return frozenset(
        f"{where}::{each.name}"
        for where, body in [(path, tree.body), *classes]
        for each in body
        if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")
    )


def is_class(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef) and node.name.startswith("Test")

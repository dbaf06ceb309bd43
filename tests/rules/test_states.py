"""Every state is documented where it stands."""

import ast
from itertools import pairwise
from pathlib import Path

from shared.states import JobKind

ROOT = Path(__file__).resolve().parents[2]
STATES = ROOT / "shared" / "states.py"


def is_text(node: ast.AST | None) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def enums() -> list[ast.ClassDef]:
    tree = ast.parse(STATES.read_text(encoding="utf-8"))
    return [node for node in tree.body if isinstance(node, ast.ClassDef)]


def test_every_member_has_a_docstring_right_below_it() -> None:
    members = [
        (f"{enum.name}.{ast.unparse(node.targets[0])}", below)
        for enum in enums()
        for node, below in pairwise([*enum.body, None])
        if isinstance(node, ast.Assign)
    ]

    assert len(members) > 40, "the members were not found"
    assert [name for name, below in members if not is_text(below)] == []


def test_every_enum_says_what_it_is() -> None:
    assert [enum.name for enum in enums() if ast.get_docstring(enum) is None] == []


def test_every_kind_of_job_is_made_by_a_service() -> None:
    services = sorted((ROOT / "shared" / "services").rglob("*.py"))
    text = "".join(path.read_text(encoding="utf-8") for path in services)

    assert [kind for kind in JobKind if f"JobKind.{kind.name}" not in text] == []

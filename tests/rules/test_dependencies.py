"""What is installed without an extra: the API and the commands, nothing that only workers need."""

import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads(
    (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
)["project"]


def named(stated: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(each).name) for each in stated}


def closure(stated: list[str]) -> set[str]:
    """The names of all that comes with these requirements on this machine, their own included."""
    seen: set[tuple[str, str]] = set()
    to_follow = [("", Requirement(each)) for each in stated]
    while to_follow:
        extra, requirement = to_follow.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for chosen in ("", *requirement.extras):
            if (name, chosen) not in seen:
                seen.add((name, chosen))
                to_follow += [(chosen, each) for each in required_by(name)]
    return {name for name, _ in seen}


def required_by(name: str) -> list[Requirement]:
    """Raises AssertionError unless it is installed, as all that is needed must be."""
    try:
        return [Requirement(each) for each in requires(name) or []]
    except PackageNotFoundError:
        raise AssertionError(f"{name} is needed and is not installed") from None


def test_without_an_extra_nothing_is_installed_that_only_workers_need() -> None:
    workers = named(PROJECT["optional-dependencies"]["worker"])
    installed = closure(PROJECT["dependencies"])

    assert {"torch", "transformers"} < workers
    assert {"flask", "werkzeug", "psycopg-binary", "hiredis"} <= installed, "extras are followed"
    assert installed & workers == set()
    assert not any(name.startswith(("torch", "nvidia-", "triton")) for name in installed)


def test_a_worker_would_be_seen_to_bring_them() -> None:
    brought = closure(PROJECT["optional-dependencies"]["worker"])

    assert {"torch", "huggingface-hub"} <= brought

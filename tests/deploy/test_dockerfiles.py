"""The two images: small, without secrets, not root, and running what `atelier up` runs."""

import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.embedded.installation import Place, programs

ROOT = Path(__file__).parents[2]
API = ROOT / "api" / "Dockerfile"
WORKER = ROOT / "worker" / "Dockerfile"
BOTH = pytest.mark.parametrize("file", [API, WORKER], ids=["api", "worker"])


def instructions(file: Path) -> list[tuple[str, str]]:
    """A Dockerfile's instructions in order, each on one line, without comments."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (name, rest.strip())
        for line in joined.splitlines()
        if line.strip()
        for name, _, rest in [line.partition(" ")]
    ]


def stages(file: Path) -> list[list[tuple[str, str]]]:
    """The instructions of every stage; the last stage is the image."""
    found: list[list[tuple[str, str]]] = []
    for name, rest in instructions(file):
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest))
    return found


def values(stage: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for instruction, rest in stage if instruction == name]


def health_check(file: Path) -> list[str]:
    (check,) = values(stages(file)[-1], "HEALTHCHECK")
    return json.loads(check[check.index("[") :])


def service(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"][name]


@BOTH
def test_hadolint_finds_nothing(file: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    answer = subprocess.run(
        [str(hadolint), "--no-color", str(file)], capture_output=True, text=True, check=False
    )

    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout == ""


@BOTH
def test_it_is_built_in_stages_from_one_pinned_slim_image(file: Path) -> None:
    bases = {values(stage, "FROM")[0].split()[0] for stage in stages(file)}

    assert len(stages(file)) == 2
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", bases.pop())


def test_both_images_share_their_base() -> None:
    assert values(stages(API)[0], "FROM") == values(stages(WORKER)[0], "FROM")


@BOTH
def test_it_does_not_run_as_root_and_has_a_fixed_uid(file: Path) -> None:
    assert values(stages(file)[-1], "USER") == ["10001:10001"]
    assert any("useradd --uid 10001" in run for run in values(stages(file)[-1], "RUN"))


@BOTH
def test_it_installs_the_pinned_versions_and_keeps_no_cache(file: Path) -> None:
    installs = [run for run in values(stages(file)[0], "RUN") if run.startswith("pip install")]
    with_dependencies = [run for run in installs if "--no-deps" not in run]

    assert len(installs) == 2
    assert all("--no-cache-dir" in run for run in installs)
    assert all("--constraint constraints.txt" in run for run in with_dependencies)
    assert not any("pip" in run for run in values(stages(file)[-1], "RUN"))


def test_torch_is_in_the_worker_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not any(name.startswith("torch") for name in project["dependencies"])
    assert any(name.startswith("torch") for name in project["optional-dependencies"]["worker"])

    assert "[worker]" not in "".join(values(stages(API)[0], "RUN"))
    assert "[worker]" in "".join(values(stages(WORKER)[0], "RUN"))


def test_each_image_has_only_the_code_that_it_runs() -> None:
    packages = {"api", "migrations", "shared", "worker"}

    def copied(file: Path) -> set[str]:
        return {word for copy in values(stages(file)[0], "COPY") for word in copy.split()}

    assert copied(API) & packages == {"api", "migrations", "shared"}
    assert copied(WORKER) & packages == {"shared", "worker"}


@BOTH
def test_what_it_copies_is_let_through_and_nothing_else(file: Path) -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {source for copy in values(stages(file)[0], "COPY") for source in copy.split()[:-1]}

    assert "*" in rules
    assert copied <= let_through
    assert not any(fnmatch(".env", name) for name in let_through)
    assert all((ROOT / name).exists() for name in let_through)


@BOTH
def test_commands_are_in_exec_form(file: Path) -> None:
    image = stages(file)[-1]

    assert values(image, "ENTRYPOINT") == []
    assert all(isinstance(json.loads(command), list) for command in values(image, "CMD"))
    assert health_check(file)[0] == "python"


@pytest.mark.parametrize(
    ("file", "name"), [(API, "api"), (WORKER, "generation")], ids=["api", "worker"]
)
def test_it_runs_what_atelier_up_runs(file: Path, name: str) -> None:
    everything = programs(Place("0.0.0.0", 8000, Path("log"), {}))
    (embedded,) = [program for program in everything if program.name == name]
    (command,) = values(stages(file)[-1], "CMD")

    assert json.loads(command) == ["python", *embedded.argv[1:]]


@pytest.mark.parametrize(
    ("file", "name"), [(API, "api"), (WORKER, "worker-cpu")], ids=["api", "worker"]
)
def test_its_health_check_is_the_compose_files(file: Path, name: str) -> None:
    assert ["CMD", *health_check(file)] == service(name)["healthcheck"]["test"]


def test_gunicorn_knows_the_options_that_the_image_adds() -> None:
    (environment,) = values(stages(API)[-1], "ENV")
    (options,) = re.findall(r'GUNICORN_CMD_ARGS="([^"]*)"', environment)
    answer = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--print-config", *options.split(), "api.app:none"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "unrecognized arguments" not in answer.stderr
    assert re.search(r"worker_tmp_dir\s+= /dev/shm", answer.stdout)

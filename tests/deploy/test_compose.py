"""The compose file: complete, closed by default, and running what `atelier up` runs."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from shared.embedded.installation import Place, programs
from shared.settings import Settings
from tests.deploy.composed import (
    ENGINES,
    FILE,
    NOT_PASSED_ON,
    ONCE,
    ROOT,
    WORKERS,
    compose,
    example,
    filled_in,
    resolved,
    variables,
)


def test_the_file_is_valid_with_the_example_filled_in() -> None:
    answer = compose(filled_in(), "--profile", "*", "config", "--quiet")

    assert answer.returncode == 0, answer.stderr
    assert "warn" not in answer.stderr.lower()


@pytest.mark.parametrize("missing", sorted(example()[0]))
def test_it_refuses_to_start_without_a_secret_and_says_which(missing: str) -> None:
    answer = compose(filled_in() | {missing: ""}, "config", "--quiet")

    assert answer.returncode != 0
    assert f"set {missing} in .env" in answer.stderr


def test_the_example_demands_what_the_file_requires_and_holds_no_secret() -> None:
    required = {variable.partition(":?")[0] for variable in variables() if ":?" in variable}
    demanded, _ = example()

    assert demanded == required
    for name in demanded:
        assert f"\n{name}=\n" in (ROOT / ".env.example").read_text()


def test_the_example_offers_what_the_file_can_take() -> None:
    defaulted = {variable.partition(":-")[0] for variable in variables() if ":-" in variable}
    passed_on = set(re.findall(r"^ +([A-Z0-9_]+):$", FILE.read_text(), re.MULTILINE))
    _, offered = example()

    assert offered == defaulted | passed_on | {"COMPOSE_PROFILES"}


def test_only_harmless_values_have_defaults() -> None:
    defaulted = {variable.partition(":-")[0] for variable in variables() if ":-" in variable}

    assert defaulted == {"ATELIER_HOST", "ATELIER_PORT", "CPU_WORKERS"}
    assert all(":?" in variable or ":-" in variable for variable in variables())


def test_every_variable_of_ours_is_a_setting() -> None:
    known = {f"ATELIER_{name.upper()}" for name in Settings.model_fields}
    texts = [FILE.read_text(), (ROOT / ".env.example").read_text()]
    texts += [path.read_text() for path in ROOT.glob("*/Dockerfile")]

    assert set(re.findall(r"ATELIER_[A-Z0-9_]+", "\n".join(texts))) <= known


def test_a_setting_in_the_environment_reaches_api_and_workers() -> None:
    names = {f"ATELIER_{name.upper()}" for name in Settings.model_fields.keys() - NOT_PASSED_ON}
    services = resolved(**dict.fromkeys(names, "7"))["services"]

    for name in {"api", "sweeper"} | WORKERS:
        passed_on = {key for key, value in services[name]["environment"].items() if value == "7"}
        assert passed_on == names, name


def test_the_services_are_known(services: dict[str, dict[str, Any]]) -> None:
    assert services.keys() == ENGINES | ONCE | WORKERS | {"api", "sweeper"}


def test_whatever_runs_on_has_a_health_check_and_comes_back(
    services: dict[str, dict[str, Any]],
) -> None:
    for name in services.keys() - ONCE:
        assert services[name]["healthcheck"]["test"], name
        assert services[name]["restart"] == "unless-stopped", name
        assert services[name]["logging"]["options"]["max-size"], name
    for name in ONCE:
        assert services[name]["restart"] == "no", name


def test_images_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    for name, service in services.items():
        _, _, tag = service["image"].partition(":")
        assert re.search(r"\d+\.\d+", tag), f"{name}: {service['image']}"
        assert "latest" not in tag
        if name not in ENGINES:
            assert tag == release, name


def test_nothing_but_the_api_is_published_and_only_on_loopback(
    services: dict[str, dict[str, Any]],
) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}

    assert published.keys() == {"api"}
    assert [port["host_ip"] for port in published["api"]] == ["127.0.0.1"]


def test_engines_are_reachable_from_inside_alone(services: dict[str, dict[str, Any]]) -> None:
    assert resolved()["networks"]["data"]["internal"] is True
    for name in ENGINES:
        assert services[name]["networks"].keys() == {"data"}, name


def test_our_containers_may_do_as_little_as_possible(services: dict[str, dict[str, Any]]) -> None:
    for name in services.keys() - ENGINES:
        assert services[name]["read_only"] is True, name
        assert services[name]["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in services[name]["security_opt"], name


def test_secrets_go_only_where_they_are_used(services: dict[str, dict[str, Any]]) -> None:
    def holders(name: str) -> set[str]:
        secret = filled_in()[name]
        return {
            service
            for service, content in services.items()
            if any(secret in str(value) for value in content.get("environment", {}).values())
        }

    assert holders("POSTGRES_PASSWORD") == {"postgres"}
    assert holders("API_DATABASE_PASSWORD") == {"postgres", "migrate", "api"}
    assert holders("ATELIER_SECRET_KEY") == {"api"}
    assert holders("VALKEY_PASSWORD") == {"valkey", "api", "sweeper"} | WORKERS
    assert "migrate" not in holders("ATELIER_S3_SECRET_KEY")


def test_data_lie_in_named_volumes(services: dict[str, dict[str, Any]]) -> None:
    where = {
        name: {volume["source"]: volume["target"] for volume in services[name]["volumes"]}
        for name in ENGINES
    }

    assert where == {
        # Where PostgreSQL 18's image keeps its data; its older place would be lost with the
        # container.
        "postgres": {"postgres": "/var/lib/postgresql"},
        "valkey": {"valkey": "/data"},
        "seaweedfs": {"seaweedfs": "/data"},
    }


def test_others_wait_for_the_tables_and_the_bucket(services: dict[str, dict[str, Any]]) -> None:
    for name in {"api", "sweeper"} | WORKERS:
        waits_for = services[name]["depends_on"]
        for once in ONCE:
            assert waits_for[once]["condition"] == "service_completed_successfully", name
    assert services["migrate"]["command"] == ["atelier", "migrate"]
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert services["bucket"]["depends_on"]["seaweedfs"]["condition"] == "service_healthy"


def test_workers_run_what_atelier_up_runs(services: dict[str, dict[str, Any]]) -> None:
    embedded = {
        program.name: ["python", *program.argv[1:]]
        for program in programs(Place("0.0.0.0", 8000, Path("log"), {}))
    }

    assert services["worker-cpu"]["command"] == embedded.pop("generation")
    assert services["worker-gpu"]["command"] == services["worker-cpu"]["command"]
    assert services["worker-cpu-training"]["command"] == embedded.pop("training")
    assert services["worker-gpu-training"]["command"] == services["worker-cpu-training"]["command"]
    assert services["worker-light"]["command"] == embedded.pop("light")
    assert services["sweeper"]["command"] == embedded.pop("sweeper")
    assert embedded.keys() == {"api"}, "a new program of `atelier up` needs a service here"
    assert "command" not in services["api"] or services["api"]["command"] is None


def test_workers_get_time_to_finish(services: dict[str, dict[str, Any]]) -> None:
    for name in WORKERS:
        assert services[name]["stop_grace_period"] == "1m0s", name


def test_gpu_workers_start_only_when_asked_for_and_get_the_gpu(
    services: dict[str, dict[str, Any]],
) -> None:
    with_profile = {name for name, service in services.items() if "profiles" in service}

    assert with_profile == {"worker-gpu", "worker-gpu-training"}
    for name in with_profile:
        (device,) = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]


def test_processor_workers_can_be_turned_off_beside_a_gpu() -> None:
    services = resolved(CPU_WORKERS="0")["services"]

    assert services["worker-cpu"]["deploy"]["replicas"] == 0
    assert services["worker-cpu-training"]["deploy"]["replicas"] == 0

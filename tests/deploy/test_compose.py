"""The compose file: complete, closed by default, and running what `atelier up` runs."""

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from shared.db import transaction
from shared.embedded.find import find_valkey
from shared.embedded.installation import Place, programs
from shared.embedded.ports import kept_port
from shared.embedded.valkey import answers
from shared.services import workers
from shared.settings import Settings
from shared.states import Lane

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
COMPOSE = Path(sys.executable).with_name("docker-compose")
ENGINES = {"postgres", "valkey", "seaweedfs"}
ONCE = {"migrate", "bucket"}
WORKERS = {
    "worker-cpu",
    "worker-cpu-training",
    "worker-gpu",
    "worker-gpu-training",
    "worker-light",
}
# What the compose file itself decides, or what only `atelier up` reads.
NOT_PASSED_ON = {
    "home",
    "host",
    "port",
    "database_url",
    "redis_url",
    "storage_url",
    "s3_endpoint",
    "s3_access_key",
    "s3_secret_key",
    "s3_region",
    "s3_checksums",
    "secret_key",
    "worker_name",
}


def compose(values: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real docker-compose, which asks no engine as long as it only reads the file."""
    return subprocess.run(
        [str(COMPOSE), "--file", str(FILE), "--env-file", "/dev/null", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **values},
        capture_output=True,
        text=True,
        check=False,
    )


def example() -> tuple[set[str], set[str]]:
    """Names that `.env.example` demands, and names that it offers in comments."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    demanded = {line.partition("=")[0] for line in lines if re.match(r"[A-Z]", line)}
    offered = {line[1:].partition("=")[0] for line in lines if re.match(r"#[A-Z]", line)}
    return demanded, offered


def filled_in() -> dict[str, str]:
    return {name: f"{name.lower()}-{'0' * 32}" for name in example()[0]}


def resolved(**values: str) -> dict[str, Any]:
    """The file as compose understands it, with every profile."""
    answer = compose(filled_in() | values, "--profile", "*", "config", "--format", "json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return resolved()["services"]


def variables() -> list[str]:
    """Every variable that the file interpolates, each with what follows its name."""
    return re.findall(r"(?<!\$)\$\{([^}]+)\}", FILE.read_text())


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
    passed_on = set(re.findall(r"^ +([A-Z_]+):$", FILE.read_text(), re.MULTILINE))
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


def test_postgres_is_set_as_the_embedded_one(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    from shared.embedded.postgres import settings_for

    own_affairs = ("port", "listen_", "unix_", "max_conn", "fsync", "max_wal", "log_line")
    wanted = {pair for pair in settings_for(tmp_path, 5432) if not pair.startswith(own_affairs)}

    assert wanted <= set(services["postgres"]["command"])


def run_script(argv: list[str], **values: str) -> subprocess.CompletedProcess[str]:
    """Run one of the file's Python scripts as its container would."""
    command = argv[1:] if argv[0] == "CMD" else argv
    assert command[:2] == ["python", "-c"]
    return subprocess.run(
        [sys.executable, "-W", "error", *command[1:]],
        cwd=ROOT,
        env=os.environ | values,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_worker_is_healthy_while_it_reports_itself(
    installation: Path, services: dict[str, dict[str, Any]]
) -> None:
    check = services["worker-cpu"]["healthcheck"]["test"]
    assert all(services[name]["healthcheck"]["test"] == check for name in WORKERS)
    with transaction() as session:
        workers.report(session, "this-host:7", [Lane.IMAGE], "cpu", [])

    assert run_script(check, ATELIER_WORKER_NAME="this-host").returncode == 0
    assert run_script(check, ATELIER_WORKER_NAME="another-host").returncode == 1

    with transaction() as session:
        session.execute(text("UPDATE workers SET seen_at = now() - interval '2 minutes'"))
    assert run_script(check, ATELIER_WORKER_NAME="this-host").returncode == 1


def test_a_sweeper_is_healthy_while_no_expired_lease_stays(
    installation: Path, services: dict[str, dict[str, Any]]
) -> None:
    check = services["sweeper"]["healthcheck"]["test"]
    add_lease = text("""
        INSERT INTO leases (token, worker, lane, items, stage, expires_at)
        VALUES (:token, 'gone:1', 'image', '{}', 'load', now() - cast(:ago AS interval))
    """)

    with transaction() as session:
        session.execute(add_lease, {"token": uuid4(), "ago": "20 seconds"})
    assert run_script(check).returncode == 0

    with transaction() as session:
        session.execute(add_lease, {"token": uuid4(), "ago": "5 minutes"})
    assert run_script(check).returncode == 1


class Bucketless(BaseHTTPRequestHandler):
    """As much of an S3 server as the script `bucket` asks for: no bucket yet."""

    server: "S3"

    def do_GET(self) -> None:
        signed = "Authorization" in self.headers
        if not signed and not self.server.is_open:
            self._answer(403, b"")
            return
        buckets = "".join(f"<Bucket><Name>{name}</Name></Bucket>" for name in self.server.buckets)
        answer = f"<ListAllMyBucketsResult><Buckets>{buckets}</Buckets></ListAllMyBucketsResult>"
        self._answer(200, answer.encode())

    def do_PUT(self) -> None:
        self.server.buckets.append(self.path.strip("/"))
        self._answer(200, b"")

    def log_message(self, *_: object) -> None:
        """Nothing: the test says what went wrong."""

    def _answer(self, status: int, body: bytes) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class S3(ThreadingHTTPServer):
    is_open = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Bucketless)
        self.buckets: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving_s3() -> Iterator[S3]:
    with S3() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def make_bucket(
    services: dict[str, dict[str, Any]], server: S3
) -> subprocess.CompletedProcess[str]:
    values = services["bucket"]["environment"] | {"ATELIER_S3_ENDPOINT": server.address}
    return run_script(services["bucket"]["command"], **values)


def test_the_bucket_is_made_once(services: dict[str, dict[str, Any]]) -> None:
    with serving_s3() as server:
        first, second = make_bucket(services, server), make_bucket(services, server)

        assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
        assert server.buckets == ["atelier"]


def test_an_open_object_storage_is_refused(services: dict[str, dict[str, Any]]) -> None:
    with serving_s3() as server:
        server.is_open = True
        answer = make_bucket(services, server)

        assert answer.returncode == 1
        assert "must ask for credentials" in answer.stderr


def test_valkey_takes_its_configuration_and_password(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    port = kept_port(tmp_path / "port")
    binaries = find_valkey()
    shell, option, script = services["valkey"]["command"]
    # The image's entry point only lowers its rights before it becomes this program.
    started = (
        script.replace("$$", "$")
        .replace("docker-entrypoint.sh valkey-server", str(binaries / binaries.programs[0]))
        .replace("dir /data", f"dir {tmp_path}\nport {port}\nbind 127.0.0.1")
    )
    password = services["valkey"]["environment"]["REDISCLI_AUTH"]
    server = subprocess.Popen(
        [shell, option, started],
        env={"PATH": os.environ["PATH"], "REDISCLI_AUTH": password},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert server.stdout is not None
    with server, server.stdout:
        try:
            assert any("Ready to accept connections" in line for line in server.stdout)
            assert answers(f"redis://:{password}@127.0.0.1:{port}/0")
            arguments = Path(f"/proc/{server.pid}/cmdline")
            assert not arguments.exists() or password not in arguments.read_text()
        finally:
            server.terminate()

"""The compose file as the real compose binary understands it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    "api_database_url",
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


def variables() -> list[str]:
    """Every variable that the file interpolates, each with what follows its name."""
    return re.findall(r"(?<!\$)\$\{([^}]+)\}", FILE.read_text())

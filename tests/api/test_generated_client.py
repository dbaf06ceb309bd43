"""A client generated from the published description, used as its user would."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.client import Api, ok, run_queued

PACKAGE = "generated_atelier"

pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.fixture
def generated(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the client."""
    described = tmp_path / "openapi.json"
    described.write_text(json.dumps(ok(api.get("/openapi.json"))))
    program = Path(sys.executable).with_name("openapi-python-client")
    options = ["--path", described, "--output-path", tmp_path / PACKAGE, "--meta", "none"]
    # It calls a formatter that is installed beside it, wherever these tests were started from.
    path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    made = subprocess.run(
        [program, "generate", *options, "--fail-on-warning"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
    )
    assert made.returncode == 0, made.stdout + made.stderr
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name: importlib.import_module(f"{PACKAGE}.{name}")
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


def test_it_submits_a_job_and_fetches_what_it_made(
    generated: Any, address: str, api_key: str
) -> None:
    models = generated("models")
    client = generated("client").AuthenticatedClient(base_url=address, token=api_key)
    items = [{"custom_id": "a", "params": {"seed": 5, "n": 2}}]
    body = models.JobBody.from_dict({"kind": "generation", "model": "stand-in", "items": items})

    with client:
        job = generated("api.jobs.create_job").sync(client=client, body=body, idempotency_key="k")
        again = generated("api.jobs.create_job").sync(client=client, body=body, idempotency_key="k")
        run_queued()
        ended = generated("api.jobs.get_job").sync(job.id, client=client)
        page = generated("api.jobs.list_job_outputs").sync(
            job.id, client=client, order=models.ListJobOutputsOrder.ASC
        )
        texts = [
            generated("api.outputs.get_output_content").sync(output.id, client=client)
            for output in page.data
        ]

    assert again.id == job.id
    assert (job.state, ended.state) == (models.JobState.QUEUED, models.JobState.SUCCEEDED)
    assert [output.custom_id for output in page.data] == ["a", "a"]
    assert texts == ["seed 5", "seed 6"]


def test_errors_have_their_type_in_it(generated: Any, address: str, api_key: str) -> None:
    client = generated("client").AuthenticatedClient(base_url=address, token=api_key)

    with client:
        answer = generated("api.jobs.get_job").sync_detailed("job_x", client=client)

    assert answer.status_code == 404
    assert answer.parsed.error.code == "not_found"

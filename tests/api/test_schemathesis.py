"""The published description is true of every operation that it names."""

import os

import pytest

from shared.tables.tenant import Tenant
from tests.api import contract
from tests.api.client import Api, ok
from tests.api.furnishing import furnish
from tests.settings import forget_settings

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "15"))

NEVER_GRANTED = {
    "DELETE /v1/models/{id}": "every model here was imported, and only trained ones are deleted",
    "GET /api/v1/datasets/{id}/sheet": "no pictures are prepared here",
    "GET /api/v1/outputs/{id}/content/{link}": "a link is signed, and nobody guesses one",
    "POST /v1/embeddings": "no worker that runs models is here",
}
"""Operations of which no request can be granted, and why."""

_OF_FEW = "of all the ids that are met few are of trainings that were asked for as fine-tuning"

GRANTED_BY_CHANCE = {
    "GET /v1/fine_tuning/jobs/{id}": _OF_FEW,
    "GET /v1/fine_tuning/jobs/{id}/checkpoints": _OF_FEW,
    "GET /v1/fine_tuning/jobs/{id}/events": _OF_FEW,
    "POST /api/v1/jobs/{id}/resume": "a job has to be paused just before",
    "POST /api/v1/webhooks/{id}/deliveries/{delivery}/replay": "two ids have to fit each other",
    "POST /v1/batches/{id}/cancel": "files of chance hold no requests, so a batch soon fails",
    "POST /v1/fine_tuning/jobs/{id}/cancel": _OF_FEW,
    "POST /v1/fine_tuning/jobs/{id}/pause": _OF_FEW,
    "POST /v1/fine_tuning/jobs/{id}/resume": _OF_FEW,
    "POST /v1/uploads/{id}/complete": "the parts named have to be the upload's own",
}
"""Operations of which a run may meet no request that is granted, and why. Of every other one it
must.
"""


@pytest.fixture
def furnished(api: Api, tenant: Tenant, stand_in: str, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A client of a tenant that has one of most things, whose ids are found in lists."""
    variables = {"KEY_REQUESTS": "1000000", "ADDRESS_REQUESTS": "1000000", "WAIT_SECONDS": "0.1"}
    for name, value in variables.items():
        monkeypatch.setenv(f"ATELIER_{name}", value)
    forget_settings()
    furnish(api, tenant.id)
    ok(api.post("/api/v1/webhooks", {"url": "https://hooks.example.com"}), 201)
    api.run({"n": 2}, {"fault": "refuse"}, metadata={"customer": "acme"})
    return api


def test_every_operation_keeps_to_its_description(furnished: Api) -> None:
    key = str(furnished.key)
    with contract.kept(key) as address:
        report = contract.run(address, key, EXAMPLES)

    assert not report.faults, "\n\n".join(f"{name}\n{said}" for name, said in report.faults.items())
    assert report.requests > 2000
    never_granted = {name for name, seen in report.answers.items() if not seen & contract.SUCCESS}
    assert never_granted - GRANTED_BY_CHANCE.keys() == NEVER_GRANTED.keys()
    assert report.answers.keys() >= GRANTED_BY_CHANCE.keys(), "they are still there"

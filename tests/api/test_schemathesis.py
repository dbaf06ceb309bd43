"""The published description is true of every operation that it names."""

import os

import pytest

from shared.tables.tenant import Tenant
from tests.api import contract
from tests.api.client import Api, ok
from tests.api.furnishing import FAMILIES, furnish
from tests.api.granting import grants
from tests.settings import forget_settings

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "15"))


def served_by_no_model(api: Api) -> set[str]:
    """The operations whose description holds nothing but refusals."""
    return {
        f"{method.upper()} {path}"
        for path, operations in ok(api.get("/openapi.json"))["paths"].items()
        for method, operation in operations.items()
        if min(operation["responses"]) >= "400"
    }


@pytest.fixture
def furnished(api: Api, tenant: Tenant, stand_in: str, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A client of a tenant that has one of most things, whose ids are found in lists."""
    variables = {
        "KEY_REQUESTS": "1000000",
        "ADDRESS_REQUESTS": "1000000",
        "FAMILIES": f"tests.families.stand_in,{FAMILIES}",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"ATELIER_{name}", value)
    forget_settings()
    furnish(api, tenant.id)
    ok(api.post("/api/v1/webhooks", {"url": "https://hooks.example.com"}), 201)
    api.run({"n": 2}, {"fault": "refuse"}, metadata={"customer": "acme"})
    return api


def test_every_operation_keeps_to_its_description(furnished: Api, tenant: Tenant) -> None:
    key = str(furnished.key)
    needed = grants(furnished, tenant.id)

    with contract.kept(key) as address:
        report = contract.run(address, key, EXAMPLES, needed)

    assert not report.faults, "\n\n".join(f"{name}\n{said}" for name, said in report.faults.items())
    assert report.requests > 2000
    assert report.answers.keys() >= needed.keys(), "they are still there"
    never_granted = {name for name, seen in report.answers.items() if not seen & contract.SUCCESS}
    assert never_granted == served_by_no_model(furnished)

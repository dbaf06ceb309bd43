"""What the doctor finds amiss, and the remedy that it names."""

import pytest

from api.doctor import LOOKS, Fault, examine
from migrations.roles import admit_api
from shared.tables.tenant import Tenant
from tests.ledger import execute, submit

pytestmark = pytest.mark.usefixtures("stand_in")


def test_a_sound_ledger_is_found_well(tenant: Tenant) -> None:
    submit(tenant.id, [{}] * 3)

    assert "invariants hold" in LOOKS["ledger"]()
    assert LOOKS["growth"]() == "dead rows are few"
    assert "agree" in LOOKS["clock"]()
    assert "PostgreSQL" in LOOKS["database"]()


def test_a_counter_that_is_wrong_is_found_with_the_row_and_what_to_do(tenant: Tenant) -> None:
    job = submit(tenant.id, [{}] * 3)
    execute("UPDATE jobs SET done = 1")

    with pytest.raises(Fault, match="does not hold: a job's counters") as caught:
        LOOKS["ledger"]()
    assert job.id in caught.value.message
    assert "keep a dump" in caught.value.message


def test_a_key_of_the_apis_role_that_the_database_does_not_have_is_found(tenant: Tenant) -> None:
    assert LOOKS["wall"]() == "the API sees the rows of one tenant at a time"
    try:
        execute("UPDATE wall.keys SET key = 'another'")

        (finding,) = (each for each in examine() if each.what == "wall")
        assert not finding.ok
        assert "after a change of its password: atelier migrate" in finding.told
    finally:
        admit_api()
    assert LOOKS["wall"]() == "the API sees the rows of one tenant at a time"


def test_a_clock_that_is_far_off_is_found(monkeypatch: pytest.MonkeyPatch, tenant: Tenant) -> None:
    import time

    real = time.time
    monkeypatch.setattr("api.doctor.time.time", lambda: real() + 600)

    with pytest.raises(Fault, match="-600 s off this one's"):
        LOOKS["clock"]()

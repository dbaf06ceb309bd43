"""The command line, for those who run an installation."""

import pytest

from shared.db import transaction
from shared.errors import Unauthenticated
from shared.queues import lanes_without_hint
from shared.services import tenants
from shared.services.ledger.pause import paused_lanes
from shared.states import Lane, Scope
from tests.operators import command, run

pytestmark = pytest.mark.usefixtures("installation")


def test_a_tenant_is_added_with_limits_and_changed_one_by_one() -> None:
    id_ = run("tenant", "add", "acme", "--weight", "2", "--max-running", "8").strip()
    run("tenant", "set", "acme", "--max-queued", "1000")

    with transaction() as session:
        tenant = tenants.tenant_named(session, "acme")
    assert (tenant.id, tenant.weight, tenant.max_running) == (id_, 2, 8)
    assert (tenant.max_queued, tenant.max_bytes) == (1000, None)


def test_a_tenants_limits_are_shown_with_those_that_the_settings_give_it() -> None:
    options = ("--max-bytes", "5000000000", "--retention-days", "0.5", "--max-requests", "100")
    id_ = run("tenant", "add", "acme", *options).strip()
    shown = dict(line.split(maxsplit=1) for line in run("tenant", "show", "acme").splitlines())
    assert shown == {
        "id": id_,
        "weight": "1",
        "max_running": "no limit (of the installation)",
        "max_queued": "5000000 (of the installation)",
        "max_bytes": "5000000000",
        "max_compute_seconds": "no limit (of the installation)",
        "max_requests": "100",
        "retention_days": "0.5",
    }


def test_a_limit_of_a_tenants_own_is_taken_away_again_alone() -> None:
    run("tenant", "add", "acme", "--retention-days", "7", "--max-requests", "100")

    run("tenant", "set", "acme", "--reset", "retention-days", "--max-queued", "9")

    with transaction() as session:
        tenant = tenants.tenant_named(session, "acme")
    assert (tenant.retention_days, tenant.max_requests, tenant.max_queued) == (None, 100, 9)


@pytest.mark.parametrize(
    "options", [("--retention-days", "0"), ("--retention-days", "1e9"), ("--max-requests", "0")]
)
def test_a_limit_that_cannot_hold_is_refused(options: tuple[str, str]) -> None:
    done = command("tenant", "add", "acme", *options)

    assert done.exit_code == 2
    assert options[0] in done.stderr


def test_a_key_is_listed_and_rotated() -> None:
    run("tenant", "add", "acme")
    old = run("key", "add", "--tenant", "acme", "--name", "shop", "--scope", "read").strip()
    (line,) = run("key", "list", "--tenant", "acme").splitlines()
    assert line.split()[1:] == [f"{old[:12]}…", "shop", "read"]

    new = run("key", "rotate", line.split()[0], "--tenant", "acme", "--overlap-seconds", "0")

    after = run("key", "list", "--tenant", "acme")
    assert [kept.split()[1] for kept in after.splitlines()] == [f"{new[:12]}…", f"{old[:12]}…"]
    assert "until" in after.splitlines()[1]
    with transaction() as session:
        assert tenants.authenticate(session, new.strip()).scopes == {Scope.READ}
        with pytest.raises(Unauthenticated):
            tenants.authenticate(session, old)


def test_a_lane_is_paused_and_resumed_and_its_workers_hear_of_it_at_once() -> None:
    run("lane", "pause", "image")
    with transaction() as session:
        assert paused_lanes(session) == [Lane.IMAGE]
    assert Lane.IMAGE in lanes_without_hint()

    run("lane", "resume", "image")
    with transaction() as session:
        assert paused_lanes(session) == []
    assert Lane.IMAGE not in lanes_without_hint()


def test_an_error_is_one_sentence_and_exit_code_1() -> None:
    done = command("tenant", "set", "nobody", "--weight", "2")

    assert done.exit_code == 1
    assert done.stderr.startswith("Error: No tenant 'nobody'.")

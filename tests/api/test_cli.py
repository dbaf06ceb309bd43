"""The command line, for those who run an installation."""

import pytest
from click.testing import CliRunner

from api.cli import main
from shared.db import transaction
from shared.errors import Unauthenticated
from shared.queues import lanes_without_hint
from shared.services import tenants
from shared.services.ledger.pause import paused_lanes
from shared.states import Lane, Scope

pytestmark = pytest.mark.usefixtures("installation")


def run(*arguments: str) -> str:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_tenant_is_added_with_limits_and_changed_one_by_one() -> None:
    id_ = run("tenant", "add", "acme", "--weight", "2", "--max-running", "8").strip()
    run("tenant", "set", "acme", "--max-queued", "1000")

    with transaction() as session:
        tenant = tenants.tenant_named(session, "acme")
    assert (tenant.id, tenant.weight, tenant.max_running) == (id_, 2, 8)
    assert (tenant.max_queued, tenant.max_bytes) == (1000, None)


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
    done = CliRunner().invoke(main, ["tenant", "set", "nobody", "--weight", "2"])

    assert done.exit_code == 1
    assert done.stderr.startswith("Error: No tenant 'nobody'.")

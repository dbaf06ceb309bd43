"""The command line, for those who run an installation."""

import pytest
from click.testing import CliRunner

from api.cli import main
from shared.db import transaction
from shared.services import tenants
from shared.services.ledger.pause import paused_lanes
from shared.states import Lane

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


def test_a_lane_is_paused_and_resumed() -> None:
    run("lane", "pause", "image")
    with transaction() as session:
        assert paused_lanes(session) == [Lane.IMAGE]

    run("lane", "resume", "image")
    with transaction() as session:
        assert paused_lanes(session) == []


def test_an_error_is_one_sentence_and_exit_code_1() -> None:
    done = CliRunner().invoke(main, ["tenant", "set", "nobody", "--weight", "2"])

    assert done.exit_code == 1
    assert done.stderr.startswith("Error: No tenant 'nobody'.")

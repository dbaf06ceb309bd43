"""`/metrics`, as Prometheus reads it."""

from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared import metrics
from shared.db import rehearsal, transaction
from shared.services import submissions
from shared.services.items import Wanted
from shared.services.ledger.pause import pause_lane
from shared.services.submissions import Common
from shared.states import Lane
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, ok, refused
from tests.ledger import execute
from tests.settings import forget_settings
from worker.runner import drain

TOKEN = "a token of the operator's"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def operator(api: Api, stand_in: str, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A client that sends the token."""
    monkeypatch.setenv("ATELIER_METRICS_TOKEN", TOKEN)
    forget_settings()
    return api.with_key(TOKEN)


def scrape(operator: Api) -> Samples:
    metrics.flush()
    response = operator.get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


def test_what_waits_is_told_by_lane(operator: Api, api: Api) -> None:
    api.submit({"n": 3}, {"n": 2})
    execute("UPDATE queue SET available_at = now() - interval '30 seconds'")

    found = scrape(operator)

    assert value(found, "atelier_queued_items", lane="text") == 2
    assert value(found, "atelier_claimable_cost", lane="text") == 5
    assert 30 <= value(found, "atelier_oldest_claimable_seconds", lane="text") < 60


def test_of_a_paused_lane_nothing_is_claimable(operator: Api, api: Api) -> None:
    api.submit({})
    with transaction() as session:
        pause_lane(session, Lane.TEXT)

    found = scrape(operator)

    assert value(found, "atelier_queued_items", lane="text") == 1
    assert value(found, "atelier_claimable_cost", lane="text") == 0


def test_what_processes_did_is_added_up(operator: Api, api: Api) -> None:
    before = scrape(operator)
    api.run({"seed": 1}, {"fault": "refuse"}, {"fault": "raise"})
    after = scrape(operator)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("atelier_accepted_items_total", lane="text") == 3
    assert grown("atelier_claims_total", lane="text") == 1
    assert grown("atelier_commits_total") == 1
    for became, count in {"done": 1, "failed": 1, "queued": 1}.items():
        assert grown("atelier_items_total", lane="text", became=became) == count
    assert grown("atelier_queue_wait_seconds_count", lane="text", weight="1") == 3
    for stage in ("claim", "load", "forward", "encode", "store", "commit"):
        assert grown("atelier_stage_seconds_count", stage=stage) >= 1, stage


class TestAccepted:
    """Items are counted once they are accepted for good, however they came."""

    @pytest.fixture
    def counted(self, operator: Api) -> Callable[[], float]:
        """Gives the items that were accepted for lane `text` since it was asked last."""
        told = [0.0]

        def count() -> float:
            before = told[0]
            told[0] = value(scrape(operator), "atelier_accepted_items_total", lane="text")
            return told[0] - before

        count()
        return count

    def test_what_is_undone_is_not_counted(
        self, api: Api, tenant: Tenant, counted: Callable[[], float]
    ) -> None:
        wanted = [Wanted({})] * 3
        with rehearsal() as session:
            submissions.create_generation(session, Common(tenant.id), "stand-in", wanted)
        body = {"kind": "generation", "model": "stand-in", "items": [{"params": {}}]}
        ok(api.post(JOBS, {**body, "dry_run": True}))
        faulty = {"params": {"n": 0}}
        refused(api.post(JOBS, {**body, "items": [{"params": {}}, faulty]}), 400)

        assert counted() == 0

    def test_nor_is_it_before_it_is_certain(
        self, tenant: Tenant, counted: Callable[[], float]
    ) -> None:
        with transaction() as session:
            submissions.create_generation(session, Common(tenant.id), "stand-in", [Wanted({})])
            assert counted() == 0

        assert counted() == 1

    def test_what_is_asked_for_twice_under_one_key_counts_once(
        self, api: Api, counted: Callable[[], float]
    ) -> None:
        body = {"kind": "generation", "model": "stand-in", "items": [{"params": {}}] * 2}
        for _ in range(2):
            ok(api.post(JOBS, body, idempotency_key="a"), 202)

        assert counted() == 2

    def test_a_call_that_waits_counts_too(
        self,
        api: Api,
        stories: str,
        counted: Callable[[], float],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("ATELIER_WAIT_SECONDS", "0.1")
        forget_settings()
        body = {"model": stories, "prompt": ["Once", "Twice"], "max_tokens": 2}
        ok(api.post("/v1/completions", body, prefer="respond-async"), 202)

        assert counted() == 2

    def test_the_lines_of_a_file_count_once_they_are_queued(
        self, api: Api, counted: Callable[[], float]
    ) -> None:
        file = ok(api.upload(b'{"params": {}}\n' * 3))["id"]
        ok(api.post(JOBS, {"kind": "generation", "model": "stand-in", "input_file": file}), 202)
        assert counted() == 0

        drain(Lane.LIGHT)

        assert counted() == 3


def test_what_is_added_twice_counts_twice_whoever_adds_it(operator: Api) -> None:
    key = ("atelier_commits_total", "{}")
    with transaction() as session:
        metrics.kept.add(session, {key: 2.0})
        metrics.kept.add(session, {key: 3.0})

    assert value(scrape(operator), "atelier_commits_total") >= 5


def test_nobody_reads_them_without_the_token(operator: Api, api: Api, anonymous: Api) -> None:
    refused(api.get("/metrics"), 401)
    refused(anonymous.get("/metrics"), 401)


def test_without_a_token_in_the_settings_nobody_reads_them(api: Api) -> None:
    assert "ATELIER_METRICS_TOKEN" in refused(api.get("/metrics"), 403)["message"]

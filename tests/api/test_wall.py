"""The API behind the wall: a service that forgets the tenant still shows nothing of another's."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import bindparam, select, text
from sqlalchemy.orm import Session

from api.walled import Walled
from shared import metrics as counting
from shared import wall
from shared.db import reading
from shared.errors import NotFound
from shared.services import jobs, looks, metrics, outputs
from shared.statement import Statement
from shared.tables.job import Job
from shared.tables.output import Output
from tests.api.client import JOBS, Api, ok, refused
from tests.ledger import add_other_tenant, execute, submit
from tests.settings import forget_settings

pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services that look for jobs and outputs of whoever it is."""

    def get(table: Any) -> Any:
        def found(session: Session, _: str, id_: str) -> Any:
            row = session.scalar(select(table).where(table.id == id_))
            if row is None:
                raise NotFound(f"No {id_!r}.")
            return row

        return found

    looking = select(*looks._LOOKED_AT).where(Job.id == bindparam("id"))
    monkeypatch.setattr(jobs, "get", get(Job))
    monkeypatch.setattr(looks, "_LOOK", Statement(looking, looks.Look))
    monkeypatch.setattr(outputs, "get", get(Output))


@pytest.mark.usefixtures("careless")
def test_the_wall_answers_404_where_a_service_forgets_the_tenant(api: Api, stranger: Api) -> None:
    job = api.run({"n": 1})
    (output,) = ok(api.get(f"{JOBS}/{job['id']}/outputs"))["data"]
    paths = [f"{JOBS}/{job['id']}", f"{JOBS}/{job['id']}/events", f"/api/v1/outputs/{output['id']}"]

    for path in paths:
        ok(api.get(path))
        refused(stranger.get(path), 404)
    for action in ("cancel", "pause", "resume", "retry"):
        refused(stranger.post(f"{JOBS}/{job['id']}/{action}"), 404)


@pytest.mark.usefixtures("careless")
def test_without_a_role_of_the_apis_own_only_the_services_stand(
    api: Api, stranger: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = api.submit({})
    with monkeypatch.context() as as_owner:
        as_owner.delenv("ATELIER_API_DATABASE_URL")
        forget_settings()

        ok(api.get(f"{JOBS}/{job['id']}"))
        # What was taken from the service is not there: nothing else keeps it from the stranger.
        ok(stranger.get(f"{JOBS}/{job['id']}"))
    forget_settings()


def test_requests_are_served_by_the_apis_role_and_what_comes_after_is_not(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles = []

    def list_jobs(session: Session, *others: Any) -> Any:
        roles.append(session.execute(text("SELECT session_user")).scalar_one())
        return real(session, *others)

    real = jobs.list_jobs
    monkeypatch.setattr(jobs, "list_jobs", list_jobs)
    ok(api.get(JOBS))

    assert roles == ["atelier_api"]
    assert wall.asked_for() is wall.OWNER
    with reading() as session:
        assert session.execute(text("SELECT session_user")).scalar_one() == "atelier"


def test_a_position_counts_what_waits_of_others_without_showing_it(api: Api, stranger: Api) -> None:
    submit(add_other_tenant("crowd"), [{}] * 5)

    job = api.submit(*[{}] * 2)

    assert job["position"] == 4
    assert ok(stranger.get(JOBS))["data"] == []


def test_a_streams_parts_and_its_end_ask_for_the_requests_tenant() -> None:
    told = []

    def application(*_: Any) -> Iterator[bytes]:
        wall.ask_for("a")

        def parts() -> Iterator[bytes]:
            try:
                yield str(wall.asked_for()).encode()
            finally:
                told.append(wall.asked_for())

        return parts()

    parts = Walled(application)({}, None)
    assert wall.asked_for() is wall.OWNER
    assert next(iter(parts)) == b"a"
    parts.close()

    assert told == ["a"]


def test_the_apis_role_adds_what_its_process_has_counted() -> None:
    counting.flush()
    execute("DELETE FROM metrics")
    counting.HINTS.labels("text").inc()

    with wall.asking_for(wall.NOBODY):
        counting.flush()

    with reading() as session:
        names = {name for name, _, _ in metrics.counted(session)}
    assert names == {"atelier_hints_total"}

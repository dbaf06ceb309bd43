"""Lines that a worker logs name the request, job, items and lease that they are about."""

import json
import logging
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from shared.db import reading
from shared.log import JsonLines, Lines
from shared.states import Lane
from tests.api.client import Api
from worker.runner import drain

pytestmark = pytest.mark.usefixtures("stand_in")


class Witness(logging.Handler):
    """Keeps each line, and what was running when it was written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []
        """As text, and as JSON."""
        self.running: list[tuple[str, list[int]]] = []
        """Leases with their items."""

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((Lines().format(record), JsonLines().format(record)))
        with reading() as session:
            (lease,) = session.execute(text("SELECT token, items AS held FROM leases"))
        self.running.append((str(lease.token), sorted(lease.held)))


@pytest.fixture
def witness() -> Iterator[Witness]:
    """Beside the lines about items that raised."""
    logger, handler = logging.getLogger("worker.failure"), Witness()
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def test_a_line_names_what_it_is_about_in_both_forms(api: Api, witness: Witness) -> None:
    job = api.submit({"fault": "raise"}, {"fault": "raise"}, {})

    drain(Lane.TEXT)

    assert len(witness.lines) == 2
    for (line, as_json), (lease, items) in zip(witness.lines, witness.running, strict=True):
        named = {"job": job["id"], "items": ",".join(map(str, items)), "lease": lease}
        assert len(items) == 3
        for noun, id_ in named.items():
            assert f"{noun}={id_}" in line
        assert "request=req_" in line

        told = json.loads(as_json)
        assert {noun: told[noun] for noun in named} == named
        assert told["request"].startswith("req_")
        assert (told["level"], told["logger"]) == ("ERROR", "worker.failure")
        assert "asked to raise" in told["exception"]


def test_the_next_claims_lines_name_it_and_not_the_last(api: Api, witness: Witness) -> None:
    first = api.submit({"fault": "raise"})
    drain(Lane.TEXT)
    second = api.submit({"fault": "raise"})
    drain(Lane.TEXT)

    told = [json.loads(as_json) for _, as_json in witness.lines]
    assert [each["job"] for each in told] == [first["id"], second["id"]]
    assert [each["lease"] for each in told] == [lease for lease, _ in witness.running]
    assert told[0]["lease"] != told[1]["lease"]

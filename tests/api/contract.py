"""Whether a served API keeps to its published description: whatever that allows is sent to every
operation, and much that it does not allow, and each answer is compared with it.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.engine import Status, events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder
from schemathesis.generation.meta import TestPhase
from schemathesis.hooks import unregister

from api.app import create_app
from shared.db import reading
from shared.services import tenants
from shared.states import Lane
from tests.api.granting import Grants
from tests.threads import draining, served

SUCCESS = frozenset({200, 201, 202, 204, 302})
_ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "429", "503"]
_MEANING = ["400", "413", "422"]
"""What a body's fields mean together, or two ends of a period, and whether an Idempotency-Key was
used before, no schema can say.
"""

_UNSERVED = "^/v1/(audio|images/edits|images/variations|moderations|responses|videos)"
"""What no model here serves is refused, whatever is sent."""

_FORM_FIELDS = {b"file", b"purpose", b"expires_after[anchor]", b"expires_after[seconds]", b"data"}


@dataclass
class Report:
    """What came of a run."""

    faults: dict[str, str] = field(default_factory=dict)
    """By operation and title; each with the request that shows it."""
    answers: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Statuses seen, by operation."""
    requests: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By phase."""


@contextmanager
def kept(key: str) -> Iterator[str]:
    """The address of a server that never revokes this key, with a worker of all but trainings."""
    app = create_app()
    app.wsgi_app = _keeping(key, app.wsgi_app)  # type: ignore[method-assign]
    with served(app) as address, draining(Lane.LIGHT, Lane.TEXT, Lane.IMAGE):
        yield address


def _keeping(key: str, call: Callable[..., Any]) -> Callable[..., Any]:
    with reading() as session:
        own = tenants.authenticate(session, key).key_id

    def keep(environ: dict[str, Any], start_response: Any) -> Any:
        environ["PATH_INFO"] = environ["PATH_INFO"].replace(own, "key_of_the_run")
        return call(environ, start_response)

    return keep


def run(address: str, key: str, examples: int, grants: Grants) -> Report:
    """Send so many examples to every operation, the same ones each time, with every check on."""
    posted = {"positive_data_acceptance": {"expected-statuses": [*_ACCEPTED, *_MEANING]}}
    config = {
        "seed": 1,
        "continue-on-failure": True,
        "generation": {"max-examples": examples, "deterministic": True, "allow-x00": False},
        "auth": {"openapi": {"key": {"bearer": key}}},
        "checks": {"positive_data_acceptance": {"expected-statuses": _ACCEPTED}},
        "operations": [
            {"include-method": "POST", "checks": posted},
            {"include-path": "/api/v1/usage", "checks": posted},
            {"include-path-regex": _UNSERVED, "checks": posted},
        ],
    }
    described = schemathesis.openapi.from_url(
        f"{address}/openapi.json", config=SchemathesisConfig.from_dict(config)
    )
    described.hook("filter_failure")(_is_fault)
    report = Report()
    with _naming(grants):
        for event in from_schema(described).execute():
            _take(report, event)
    return report


def _take(report: Report, event: events.EngineEvent) -> None:
    if isinstance(event, events.FatalError):
        raise event.exception
    if isinstance(event, events.NonFatalError):
        report.faults[event.label] = f"{event.label}: {event.info.format()}"
    if isinstance(event, events.ScenarioFinished):
        report.seconds[event.phase] += event.elapsed_time
        _add(report, event.recorder)


@contextmanager
def _naming(grants: Grants) -> Iterator[None]:
    """Requests of chance that the description allows name what there is, as they are sent."""

    def name(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
        make, meta = grants.get(case.operation.label), case.meta
        if make is None or meta is None or meta.phase.name != TestPhase.FUZZING:
            return
        if meta.generation.mode.is_positive:
            named = make()
            case.path_parameters = {**case.path_parameters, **named.path}
            if isinstance(case.body, dict):
                case.body = {**case.body, **named.body}

    schemathesis.hook("before_call")(name)
    try:
        yield
    finally:
        unregister(name)


def _is_fault(context: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """Whether a failure is one: an unknown field that is an empty list is not sent at all."""
    if not isinstance(failure, AcceptedNegativeData) or case.media_type != "multipart/form-data":
        return True
    names = re.findall(rb'; name="([^"]*)"', response.request.body or b"")
    return not set(names) <= _FORM_FIELDS


def _add(report: Report, recorder: ScenarioRecorder) -> None:
    for id_, sent in recorder.interactions.items():
        if sent.response is None or id_ not in recorder.cases:
            continue
        report.requests += 1
        label = recorder.cases[id_].value.operation.label
        if label.startswith(f"{sent.request.method} "):  # others are tried, too
            report.answers[label].add(sent.response.status_code)
    for id_, checks in recorder.checks.items():
        label = recorder.cases[id_].value.operation.label
        for check in checks:
            if check.status is Status.FAILURE and check.failure_info is not None:
                failure = check.failure_info.failure
                shown = f"{failure.message}\n{check.failure_info.code_sample}"
                report.faults.setdefault(f"{label}: {failure.title}", shown)

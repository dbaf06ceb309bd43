"""Queries: made once, and refused by name."""

import pytest

from api.routes.jobs import JobsQuery
from api.routes.usage import UsageQuery
from tests.api.client import JOBS, Api, ok, refused


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/v1/files?purpose=batch&purpose=vision", "purpose"),
        (f"{JOBS}?limit=1&state=queued&limit=2", "limit"),
        ("/v1/batches?after=a&after=a", "after"),
        ("/api/v1/usage?from=2026-01-01&from=2026-01-02", "from"),
    ],
)
def test_a_field_that_is_given_twice_is_refused_by_name(api: Api, path: str, param: str) -> None:
    error = refused(api.request("GET", path), 400)

    assert error["param"] == param
    assert "more than once" in error["message"]


def test_a_field_that_is_a_list_may_be_given_twice(api: Api) -> None:
    ok(api.request("GET", "/api/v1/usage?group_by=day&group_by=model"))


def test_the_schema_that_every_request_looks_at_is_made_once_for_each_query() -> None:
    assert JobsQuery.model_json_schema() is JobsQuery.model_json_schema()
    assert set(JobsQuery.model_json_schema()["properties"]) > {"after", "kind"}
    assert set(UsageQuery.model_json_schema()["properties"]) == {"from", "to", "group_by"}

"""Queries: made once, and refused by name."""

from api.routes.jobs import JobsQuery
from api.routes.usage import UsageQuery


def test_the_schema_that_every_request_looks_at_is_made_once_for_each_query() -> None:
    assert JobsQuery.model_json_schema() is JobsQuery.model_json_schema()
    assert set(JobsQuery.model_json_schema()["properties"]) > {"after", "kind"}
    assert set(UsageQuery.model_json_schema()["properties"]) == {"from", "to", "group_by"}

"""Queries: what an address takes after its `?`."""

from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict


class Query(BaseModel):
    """The fields of a query; others are refused by name."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """Pydantic's. flask-openapi asks for the plain one with every request: it is made once."""
        return super().model_json_schema(*args, **options) if args or options else _plain(cls)


@cache
def lists_of(query: type[Query]) -> frozenset[str]:
    """The fields that may be given more than once."""
    fields = query.model_json_schema().get("properties", {}).items()
    return frozenset(name for name, field in fields if _is_list(field))


def _is_list(field: dict[str, Any]) -> bool:
    return any(each.get("type") == "array" for each in (field, *field.get("anyOf", ())))


@cache
def _plain(query: type[Query]) -> dict[str, Any]:
    return super(Query, query).model_json_schema()

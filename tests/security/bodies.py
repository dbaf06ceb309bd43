"""The smallest value that a JSON Schema of the OpenAPI document allows."""

from typing import Any


def smallest(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    """A value with what is required and nothing else; bytes for a file."""
    schema = _resolved(schema, document)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema or "oneOf" in schema:
        choices = schema.get("anyOf") or schema["oneOf"]
        return smallest(choices[0], document)
    return _MAKE[schema.get("type", "object")](schema, document)


def _resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference leads to."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _object(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    fields = schema.get("properties", {})
    return {name: smallest(fields[name], document) for name in schema.get("required", [])}


def _array(schema: dict[str, Any], document: dict[str, Any]) -> list[Any]:
    return [smallest(schema["items"], document)] * schema.get("minItems", 0)


def _string(schema: dict[str, Any], _: dict[str, Any]) -> str | bytes:
    return b"x" if schema.get("format") == "binary" else "x" * max(1, schema.get("minLength", 0))


def _number(schema: dict[str, Any], _: dict[str, Any]) -> float:
    return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)


_MAKE = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _number,
    "number": _number,
    "boolean": lambda *_: False,
    "null": lambda *_: None,
}

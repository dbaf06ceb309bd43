"""Fields of the OpenAI API that change nothing here: which of their values are taken, and which ask
for what is not served.

Null is the same as leaving a field out.
"""

from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

NOT_SERVED = "not_served"
"""The kind of the fault of a field or value that OpenAI has and nothing here serves."""
_SHOWN = 64

Value = TypeVar("Value")


def not_served(said: str) -> PydanticCustomError:
    """The fault of what is not served; `said` goes on after the field's name."""
    return PydanticCustomError(NOT_SERVED, "{said}", {"said": said})


def _refuse_others(value: Any, take: ValidatorFunctionWrapHandler) -> Any:
    try:
        return take(value)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
    named = f"{value!r} is " if isinstance(value, str) and len(value) <= _SHOWN else ""
    is_other_word = fault["type"] == "literal_error" and not fault["loc"]
    remedy = f"use {fault['ctx']['expected']}" if is_other_word else "leave it out"
    raise not_served(f"{named}not served here; {remedy}")


Only = Annotated[Value, WrapValidator(_refuse_others)]
"""The values that are served; any other one is refused as not served."""

Ignored = Annotated[Value | None, Field(description="Accepted; changes nothing.")]
"""A field whose value never changes an answer."""

NotServed = Annotated[Only[None], Field(description="Not served here.")]
"""A field that nothing here serves."""

Nothing = Annotated[list[Any], Field(max_length=0)]
"""An empty list."""

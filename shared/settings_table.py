"""The table of all settings in the README, made from their fields: variable, default, meaning.

Print it with: python -m shared.settings_table
"""

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from shared.settings import Settings

BEGIN = "<!-- settings -->"
END = "<!-- /settings -->"


def table() -> str:
    """The table as Markdown, a row for each setting, in the order of the fields."""
    prefix = Settings.model_config["env_prefix"]
    rows = [
        f"| `{prefix}{name.upper()}` | {_default(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])


def _default(field: FieldInfo) -> str:
    """What holds when the variable is absent; nothing where the meaning says it."""
    if field.default_factory is not None or field.default in (None, PydanticUndefined):
        return ""
    value = field.default
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    return f"`{value}`" if value != [] else ""


if __name__ == "__main__":
    print(table())  # noqa: T201 - this is what it is for

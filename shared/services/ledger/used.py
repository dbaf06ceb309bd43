"""What a commit adds to its tenant's usage: a row for each job and step, inserted and never
changed, so that workers wait for nobody. The sweeper sums the rows up; see services/usage.py.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.statement import records
from shared.states import Step

_COLUMN: dict[Any, str] = {float: "float8", int: "bigint"}

JobStep = tuple[str, str]
"""The id of a job, and which of its steps."""


@dataclass
class Used:
    """What a step of a job used since its last commit. Tokens are those that the family tells."""

    compute_seconds: float = 0.0
    cost: float = 0.0
    """Of the items that were done."""
    items_done: int = 0
    items_failed: int = 0
    outputs: int = 0
    bytes: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def add_output(self, index: int, bytes_: int, facts: Mapping[str, Any]) -> None:
        """Count one output of an item."""
        self.outputs += 1
        self.bytes += bytes_
        # A prompt is read once, however many continuations it has.
        self.input_tokens += facts.get("prompt_tokens", 0) if index == 0 else 0
        self.output_tokens += facts.get("completion_tokens", 0)


NUMBERS = {field.name: _COLUMN[field.type] for field in fields(Used)}
"""What is summed up, each with the type of its column."""

_NAMES = ", ".join(NUMBERS)

_COLUMNS = ", ".join(f"{name} {type_}" for name, type_ in NUMBERS.items())

ENTERED = f"""
    entered AS (
        INSERT INTO usage_entries (tenant_id, day, key_id, kind, family, model, model_version_id,
            {_NAMES})
        SELECT jobs.tenant_id, (now() AT TIME ZONE 'UTC')::date, jobs.key_id,
            -- Apart from the items' own seconds, which make the price.
            CASE WHEN used.step = '{Step.RUN}' THEN jobs.kind ELSE used.step END,
            jobs.family, split_part(jobs.model, '@', 1), jobs.model_version_id,
            {", ".join(f"used.{name}" for name in NUMBERS)}
        FROM ({records("used", f"job_id text, step text, {_COLUMNS}")}) AS used
        JOIN jobs ON jobs.id = used.job_id
    )
"""
"""The part of a statement that enters what `parameters` gives."""

_ENTER = text(f"WITH {ENTERED} SELECT")


def parameters(used: Mapping[JobStep, Used]) -> dict[str, str]:
    """What a statement with ENTERED takes; jobs that used nothing are left out."""
    rows = [
        {"job_id": job_id, "step": step, **vars(each)}
        for (job_id, step), each in used.items()
        if each != Used()
    ]
    return {"used": json.dumps(rows)}


def enter(session: Session, used: Mapping[JobStep, Used]) -> None:
    """Enter what jobs used, where there is no larger statement to do it."""
    if used:
        session.execute(_ENTER, parameters(used))

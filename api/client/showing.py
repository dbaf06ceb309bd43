"""What the commands print: tables, details and times; results to stdout, the rest to stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

_ENDED = ("done", "failed", "cancelled", "expired")


def tell(message: str) -> None:
    """Say something to the person at the terminal."""
    click.echo(message, err=True)


def rewrite(message: str) -> None:
    """Say how far something is, over what was said of it before; on a terminal alone."""
    if sys.stderr.isatty():
        click.echo(f"\r{message}", err=True, nl=False)


def end_rewriting() -> None:
    """Leave the rewritten line as it stands."""
    if sys.stderr.isatty():
        tell("")


def plain(text: object) -> str:
    """A text on one line, without characters that would steer the terminal."""
    return "".join(each if each.isprintable() else " " for each in str(text))


def show_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def show_json_line(document: Any) -> None:
    """One of many, as it comes."""
    click.echo(json.dumps(document, ensure_ascii=False))


def when(seconds: int | None) -> str:
    """A time of the API as the clock on the wall has it."""
    if seconds is None:
        return "-"
    return f"{datetime.fromtimestamp(seconds, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def ended(job: dict[str, Any]) -> int:
    """How many of a job's items have ended, well or not."""
    return sum(job["counts"][state] for state in _ENDED)


def counts(job: dict[str, Any]) -> str:
    """For example `20 of 20 done`, and what else became of items."""
    told = [f"{job['counts']['done']} of {job['counts']['total']} done"]
    states = ("queued", "running", "failed", "cancelled", "expired")
    told += [f"{job['counts'][state]} {state}" for state in states if job["counts"][state]]
    return ", ".join(told)


def show_jobs(jobs: Iterable[dict[str, Any]]) -> None:
    rows = [("ID", "KIND", "MODEL", "STATE", "DONE", "CREATED")]
    rows += [
        (
            job["id"],
            job["kind"],
            job["model"] or "-",
            job["state"],
            f"{job['counts']['done']}/{job['counts']['total']}",
            when(job["created_at"]),
        )
        for job in jobs
    ]
    _show_columns(rows)


def show_job(job: dict[str, Any], failures: Sequence[dict[str, Any]]) -> None:
    """A job in detail; of its failures one for each reason."""
    _show_columns(_details(job))
    first = {failure["reason"]: failure for failure in reversed(failures)}
    for reason, failure in first.items():
        click.echo(plain(f"failed  {failure['item']}  {reason}: {failure['error']['message']}"))


def _details(job: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("job", job["id"]),
        ("kind", job["kind"]),
        ("model", job["model"]),
        ("state", job["state"]),
        ("items", counts(job)),
        ("progress", f"{job['progress']:.0%}"),
        ("position", job["position"]),
        ("compute", f"{job['compute_seconds']} s"),
        ("created", when(job["created_at"])),
        ("started", when(job["started_at"])),
        ("finished", when(job["finished_at"])),
        ("output file", job["output_file"]),
        ("error file", job["error_file"]),
        *((f"metadata {name}", value) for name, value in job["metadata"].items()),
        *(("warning", warning) for warning in job["warnings"]),
        ("error", job["error"] and job["error"]["message"]),
    ]
    return [(name, str(value)) for name, value in facts if value is not None]


def _show_columns(rows: Sequence[tuple[str, ...]]) -> None:
    shown = [tuple(map(plain, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())

"""The users' commands of `atelier`: a command parses, asks the API and shows what it said."""

import secrets
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import click
import httpx

from api.client import fetching, items, logs, showing
from api.client.faults import UNSUCCESSFUL, Conflicting
from api.client.http import Api, Json, job_path
from api.client.options import MOMENT, PAIR, PRINTABLE
from api.client.showing import tell
from api.client.waiting import has_ended, succeeded, wait

Command = TypeVar("Command", bound=Callable[..., Any])

_JOBS = "/api/v1/jobs"
_LISTED = 20
_MOST_FAILURES = 100


def with_api(command: Command) -> Command:
    """Gives a command the API of the installation that the environment names."""

    @click.option(
        "--url",
        envvar="ATELIER_URL",
        show_envvar=True,
        default="http://127.0.0.1:8000",
        show_default=True,
        help="Address of the installation.",
    )
    @click.option(
        "--key",
        envvar="ATELIER_API_KEY",
        show_envvar=True,
        help="API key; others on this machine can see it here, and cannot in the environment.",
    )
    @wraps(command)
    def run(url: str, key: str | None, **options: Any) -> Any:
        with _api(url, (key or "").strip()) as api:
            return command(api, **options)

    return run  # type: ignore[return-value]


def _api(address: str, key: str) -> Api:
    if not key or not key.isascii() or not key.isprintable():
        raise click.UsageError("no API key: set ATELIER_API_KEY to one")
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise click.UsageError(f"{address!r} is not an address: {error}") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise click.UsageError(
            f"{address!r} is not an address: give http:// or https:// and a host"
        )
    return Api(address, key)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def _exit_as(job: Json) -> None:
    sys.exit(0 if succeeded(job) else UNSUCCESSFUL)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--model", required=True, help="`name`, or `name@version`.")
@click.option("--priority", type=click.IntRange(-100, 100), default=0, show_default=True)
@click.option("--deadline", type=MOMENT, help="What has not started by then expires.")
@click.option("--metadata", "pairs", type=PAIR, multiple=True, help="May be given several times.")
@click.option("--idempotency-key", type=PRINTABLE, help="Under one key there is one job.")
@click.option("--wait", "is_waiting", is_flag=True, help="Wait for the end of the job.")
@as_json
@with_api
def submit(
    api: Api,
    file: str,
    model: str,
    priority: int,
    deadline: int | None,
    pairs: tuple[tuple[str, str], ...],
    idempotency_key: str | None,
    is_waiting: bool,
    as_json: bool,
) -> None:
    """Submit a file of items, JSONL or CSV; prints the job's id. `-` reads JSONL from stdin."""
    key = idempotency_key or secrets.token_hex(16)
    body: Json = {"kind": "generation", "model": model, "priority": priority}
    body |= {"metadata": dict(pairs)} | ({"deadline": deadline} if deadline else {})
    with items.opened(file, lambda: _kinds(api, model)) as (filename, lines):
        body["input_file"] = api.upload(filename, lines, f"{key}/file")
    job = api.post(_JOBS, f"{key}/job", body)
    if not as_json:
        click.echo(job["id"])
    if is_waiting:
        job = wait(api, job["id"])
    if as_json:
        showing.show_json(job)
    if is_waiting:
        _exit_as(job)


def _kinds(api: Api, model: str) -> items.Kinds:
    """What the parameters of a model's family may be."""
    name = quote(model.partition("@")[0], safe="")
    family = api.get(f"/api/v1/models/{name}")["family"]
    return items.kinds_of(api.get(f"/api/v1/families/{family}")["generation"])


@click.command()
@click.argument("job_id", metavar="[JOB]", required=False)
@as_json
@with_api
def status(api: Api, job_id: str | None, as_json: bool) -> None:
    """The last jobs, or one in detail with the first reasons of its failures."""
    if job_id is None:
        found = api.get(_JOBS, limit=_LISTED)
        return showing.show_json(found) if as_json else showing.show_jobs(found["data"])
    job = api.get(job_path(job_id))
    if as_json:
        return showing.show_json(job)
    failures = api.get("/api/v1/failures", job=job["id"], ended="true", limit=_MOST_FAILURES)
    return showing.show_job(job, failures["data"])


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option(
    "--to", "folder", type=click.Path(file_okay=False, path_type=Path), required=True, metavar="DIR"
)
@click.option("--wait", "is_waiting", is_flag=True, help="Wait for the end of the job first.")
@as_json
@with_api
def fetch(api: Api, job_id: str, folder: Path, is_waiting: bool, as_json: bool) -> None:
    """Fetch a job's outputs and result files into a folder; what is there already, whole, stays."""
    job = wait(api, job_id) if is_waiting else api.get(job_path(job_id))
    try:
        tally = fetching.fetch(api, job, folder)
    except OSError as error:
        raise click.ClickException(f"cannot write to {folder}: {error}") from None
    finally:
        showing.end_rewriting()
    tally.tell()
    if not has_ended(job):
        tell(f"{job['id']} is {job['state']}: fetch again for what is not made yet")
    if as_json:
        showing.show_json({"job": job["id"], "state": job["state"], **tally.document()})
    if tally.missing or (is_waiting and not succeeded(job)):
        sys.exit(UNSUCCESSFUL)


@click.command()
@click.argument("job_id", metavar="JOB")
@as_json
@with_api
def cancel(api: Api, job_id: str, as_json: bool) -> None:
    """Cancel a job; what is done stays."""
    try:
        job = api.change(f"{job_path(job_id)}/cancel")
    except Conflicting:
        job = api.get(job_path(job_id))
        if job["state"] != "cancelled":
            raise
    if as_json:
        return showing.show_json(job)
    return click.echo(f"{job['id']} {job['state']}")


@click.command("logs")
@click.argument("job_id", metavar="JOB")
@click.option("--follow", is_flag=True, help="Go on until the job has ended.")
@as_json
@with_api
def logs_command(api: Api, job_id: str, follow: bool, as_json: bool) -> None:
    """What happened to a job, and what went wrong, in order."""
    for row in logs.rows(api, job_id, follow):
        if as_json:
            showing.show_json_line(row)
        else:
            click.echo(logs.line(row))

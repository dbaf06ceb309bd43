"""The operators' commands about tenants and their keys."""

from datetime import timedelta

import click

from api.cli_common import Command, says_errors, use_local
from shared.db import transaction
from shared.services import tenants
from shared.states import Scope


@click.group()
def tenant() -> None:
    """Customers of this installation."""


_WEIGHT = click.FloatRange(min=0.001)
_COUNT = click.IntRange(1, 2**31 - 1)
_LARGE = click.IntRange(1, 2**63 - 1)
_DAYS = click.FloatRange(0, 36_500, min_open=True)


def with_limits(command: Command) -> Command:
    """The options for a tenant's limits, which `tenant add` and `tenant set` have in common."""
    for name, type_, told in (
        ("--retention-days", _DAYS, "Days for which its ended jobs are kept with their outputs."),
        ("--max-requests", _COUNT, "Most requests of all its keys in a minute."),
        ("--max-compute-seconds", _LARGE, "Budget of compute seconds of each month."),
        ("--max-bytes", _LARGE, "Most bytes of its files and outputs."),
        ("--max-queued", _LARGE, "Most of its items that may wait."),
        ("--max-running", _COUNT, "Most of its items that may run at once in a lane."),
    ):
        command = click.option(name, type=type_, help=told)(command)
    return command


@tenant.command("add")
@click.argument("name")
@click.option("--weight", type=_WEIGHT, default=1.0, show_default=True)
@with_limits
@says_errors
def tenant_add(name: str, weight: float, **limits: float | None) -> None:
    """Add a tenant; prints its id."""
    use_local()
    with transaction() as session:
        click.echo(tenants.add_tenant(session, name, weight, **limits).id)


@tenant.command("set")
@click.argument("name")
@click.option("--weight", type=_WEIGHT, help="Its share of each lane, against the others'.")
@with_limits
@click.option(
    "--reset",
    "resets",
    multiple=True,
    type=click.Choice([limit.replace("_", "-") for limit in tenants.LIMITS]),
    help="Take this limit of its own away again; may be given several times.",
)
@says_errors
def tenant_set(name: str, resets: tuple[str, ...], **changes: float | None) -> None:
    """Change what is given, and nothing else."""
    use_local()
    given = {column: value for column, value in changes.items() if value is not None}
    taken = dict.fromkeys(reset.replace("-", "_") for reset in resets)
    with transaction() as session:
        tenants.change_tenant(session, name, taken | given)


@tenant.command("show")
@click.argument("name")
@says_errors
def tenant_show(name: str) -> None:
    """Print a tenant's id, its weight and its limits."""
    use_local()
    with transaction() as session:
        shown = tenants.tenant_named(session, name)
    click.echo(f"id                   {shown.id}")
    click.echo(f"weight               {shown.weight:g}")
    for limit in tenants.limits_of(shown):
        value = "no limit" if limit.value is None else f"{limit.value:.15g}"
        click.echo(f"{limit.name:<20} {value}{'' if limit.is_own else ' (of the installation)'}")


@click.group()
def key() -> None:
    """API keys."""


@key.command("add")
@click.option("--tenant", "tenant_name", required=True)
@click.option("--name", default="command line", show_default=True)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="May be given several times; none: read, generate and train.",
)
@says_errors
def key_add(tenant_name: str, name: str, scopes: tuple[str, ...]) -> None:
    """Add a key; prints it, this once."""
    use_local()
    chosen = [Scope(scope) for scope in scopes] or [Scope.READ, Scope.GENERATE, Scope.TRAIN]
    with transaction() as session:
        owner = tenants.tenant_named(session, tenant_name)
        click.echo(tenants.add_key(session, owner.id, name, chosen)[1])


@key.command("list")
@click.option("--tenant", "tenant_name", required=True)
@says_errors
def key_list(tenant_name: str) -> None:
    """Print a tenant's keys, newest first: id, first characters, name, scopes, end."""
    use_local()
    with transaction() as session:
        owner = tenants.tenant_named(session, tenant_name)
        for each in tenants.keys_of(session, owner.id):
            end = each.revoked_at or each.expires_at
            until = f"until {end:%Y-%m-%d %H:%M} UTC" if end is not None else ""
            scopes = ",".join(each.scopes)
            click.echo(f"{each.id}  {each.hint}…  {each.name}  {scopes}  {until}".rstrip())


@key.command("rotate")
@click.argument("key_id", metavar="ID")
@click.option("--tenant", "tenant_name", required=True)
@click.option(
    "--overlap-seconds",
    type=click.IntRange(0, 7 * 86_400),
    default=86_400,
    show_default=True,
    help="How long the old key is still good.",
)
@says_errors
def key_rotate(key_id: str, tenant_name: str, overlap_seconds: int) -> None:
    """Make a key in the place of another; prints it, this once."""
    use_local()
    overlap = timedelta(seconds=overlap_seconds)
    with transaction() as session:
        owner = tenants.tenant_named(session, tenant_name)
        click.echo(tenants.rotate_key(session, owner.id, key_id, overlap)[1])

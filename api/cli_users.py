"""The operators' commands about people who sign in to the dashboard.

What hashes passwords loads the whole application, so it is loaded at need.
"""

import click

from api.cli_common import says_errors, use_local
from shared.db import transaction
from shared.services import tenants, users
from shared.states import Role


@click.group()
def user() -> None:
    """People who sign in to the dashboard."""


@user.command("add")
@click.argument("email")
@click.option("--tenant", "tenant_name", required=True)
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), default=Role.REVIEWER.value
)
@says_errors
def user_add(email: str, tenant_name: str, role: str) -> None:
    """Add a person; prints a password, with which they sign in once and choose their own."""
    from api.dashboard.accounts import add_user

    use_local()
    click.echo(add_user(email, tenant_name, Role(role)))


@user.command("list")
@click.option("--tenant", "tenant_name", required=True)
@says_errors
def user_list(tenant_name: str) -> None:
    """Print a tenant's people: id, address, role, what is to be known of the account."""
    use_local()
    with transaction() as session:
        owner = tenants.tenant_named(session, tenant_name)
        for each in users.of_tenant(session, owner.id):
            known = [
                "" if each.active else "disabled",
                "first password" if each.must_change_password else "",
                "second factor" if each.second_factor else "",
            ]
            told = ", ".join(filter(None, known))
            click.echo(f"{each.id}  {each.email}  {each.role}  {told}".rstrip())


@user.command("reset-password")
@click.argument("email")
@says_errors
def user_reset_password(email: str) -> None:
    """Sign a person out everywhere; prints a password with which they choose their own."""
    from api.dashboard.accounts import reset_password

    use_local()
    click.echo(reset_password(email))


@user.command("sign-out")
@click.argument("email")
@says_errors
def user_sign_out(email: str) -> None:
    """End all sessions of a person, at once."""
    use_local()
    with transaction() as session:
        users.sign_out(session, email)


@user.command("disable")
@click.argument("email")
@says_errors
def user_disable(email: str) -> None:
    """Let a person in no more, and end all their sessions, at once; what they judged stays."""
    use_local()
    with transaction() as session:
        users.set_active(session, email, False)


@user.command("enable")
@click.argument("email")
@says_errors
def user_enable(email: str) -> None:
    """Let a person in again, by the password they had."""
    use_local()
    with transaction() as session:
        users.set_active(session, email, True)


@user.command("remove-second-factor")
@click.argument("email")
@says_errors
def user_remove_second_factor(email: str) -> None:
    """Have a person who has lost it sign in without; ends all their sessions."""
    use_local()
    with transaction() as session:
        users.remove_second_factor(session, email)

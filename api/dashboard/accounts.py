"""People's accounts and the passwords that are made for them, as operators have them made."""

from api.dashboard import passwords
from shared.db import transaction
from shared.services import users
from shared.states import Role


def add_user(email: str, tenant_name: str, role: Role, *, lasting: bool = False) -> str:
    """Add a person and give the password made for them, with which they choose their own.

    `lasting`: it is theirs as it is. Raises Invalid, NotFound or Conflict.
    """
    password, hash_ = _made()
    with transaction() as session:
        users.add(session, email, tenant_name, role, hash_, must_change=not lasting)
    return password


def reset_password(email: str, *, lasting: bool = False) -> str:
    """Give a person a new password made for them, and sign them out everywhere.

    Raises NotFound.
    """
    password, hash_ = _made()
    with transaction() as session:
        user = users.named(session, email)
        users.set_password(session, user.id, hash_, must_change=not lasting)
    return password


def make_access(email: str, tenant_name: str, role: Role) -> str:
    """Add a person, or give the one that is there a new password; it lasts. Gives the password."""
    password, hash_ = _made()
    with transaction() as session:
        there = users.by_email(session, email)
        if there is None:
            users.add(session, email, tenant_name, role, hash_, must_change=False)
        else:
            users.set_password(session, there.id, hash_, must_change=False)
    return password


def _made() -> tuple[str, str]:
    """A password made for somebody, and its hash."""
    from api.app import create_app

    password = passwords.make()
    with create_app().app_context():
        return password, passwords.hashed(password)

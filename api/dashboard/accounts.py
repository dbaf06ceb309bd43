"""People's accounts: what Flask-Security needs to know of our users, and adding one."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import g
from flask_login import user_logged_in, user_logged_out
from flask_security import RoleMixin, Security, UserMixin
from flask_security.datastore import UserDatastore
from flask_security.utils import hash_password
from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert

from shared import wall
from shared.db import reading, transaction
from shared.errors import Conflict, Invalid
from shared.ids import new_id
from shared.log import begin
from shared.services import tenants
from shared.states import Role
from shared.tables.user import User

_PASSWORD_BYTES = 12
_FIND = {
    name: select(User).from_statement(text(f"SELECT * FROM wall.person_of_{found_by}(:value)"))
    for name, found_by in (("email", "email"), ("fs_uniquifier", "session"))
}
"""How people are found before it is known whose tenant they are; emails in small letters."""


@dataclass
class Person(UserMixin):
    """A user as Flask-Security sees one."""

    id: str  # type: ignore[assignment]
    tenant_id: str
    email: str
    password: str
    active: bool
    role: Role
    # With a default, because Flask-Security looks for the name on the class.
    fs_uniquifier: str = ""

    @property
    def roles(self) -> list[RoleMixin]:  # type: ignore[override]
        # Flask-Security would want tables of roles and permissions; pages look at `role`
        # themselves.
        return []

    @property
    def row(self) -> User:
        """What services take: who judges, and whose tenant it is."""
        return User(id=self.id, tenant_id=self.tenant_id, email=self.email, role=self.role)


class People(UserDatastore):
    """Flask-Security's view of the table `users`."""

    def __init__(self) -> None:
        super().__init__(Person, RoleMixin)

    def find_user(self, case_insensitive: bool = False, **by: Any) -> Person | None:
        (name, value), *_ = by.items()
        if name not in _FIND:
            return None
        with wall.asking_for(wall.WHOEVER), reading() as session:
            user = session.scalar(_FIND[name], {"value": value})
        if user is None:
            return None
        if name == "fs_uniquifier":
            wall.ask_for(user.tenant_id)  # it stands in a session: the request is this person's
        return _person(user)

    def put(self, person: Person) -> Person:
        """Write what Flask-Security changes: a password hashed anew with newer parameters."""
        with wall.asking_for(person.tenant_id), transaction() as session:
            session.execute(
                update(User).where(User.id == person.id).values(password=person.password)
            )
        return person

    def commit(self) -> None:
        """Each call above is a transaction of its own."""


def _person(user: User) -> Person:
    return Person(
        user.id,
        user.tenant_id,
        user.email,
        user.password,
        user.active,
        Role(user.role),
        user.fs_uniquifier,
    )


def add_user(email: str, tenant_name: str, role: Role, *, replace: bool = False) -> str:
    """Add a person and give the password made for them.

    `replace`: a person of this address gets the new password instead, and is signed out everywhere.
    Raises Invalid, NotFound or Conflict.
    """
    email = email.strip().lower()
    if "@" not in email[1:-1]:
        raise Invalid(f"{email!r} is not an email address", param="email")
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    changing = {"password": _hashed(password), "fs_uniquifier": secrets.token_hex(32)}
    with transaction() as session:
        tenant = tenants.tenant_named(session, tenant_name)
        new = {
            "id": new_id("user"),
            "tenant_id": tenant.id,
            "email": email,
            "role": role,
            **changing,
        }
        adding = insert(User).values(new)
        if replace:
            mine = User.tenant_id == tenant.id
            adding = adding.on_conflict_do_update(
                index_elements=["email"], set_=changing, where=mine
            )
        else:
            adding = adding.on_conflict_do_nothing(index_elements=["email"])
        if session.execute(adding).rowcount == 0:  # type: ignore[attr-defined]
            raise Conflict(f"There is a user {email} already.", param="email")
    return password


def _hashed(password: str) -> str:
    """argon2id, by the very settings with which sign-in verifies it."""
    from api.app import create_app

    with create_app().app_context():
        return str(hash_password(password))


def add_security(app: Any) -> None:
    """Add sign-in and sign-out to the application."""
    app.config.update(
        SECURITY_URL_PREFIX="/dashboard",
        SECURITY_PASSWORD_HASH="argon2",  # noqa: S106 - the name of a method
        # Flask-Security wants a salt of the installation's beside argon2's own.
        SECURITY_PASSWORD_SALT=app.config["SECRET_KEY"],
        SECURITY_LOGIN_USER_TEMPLATE="dashboard/login.html",
        SECURITY_POST_LOGIN_VIEW="/dashboard/",
        SECURITY_POST_LOGOUT_VIEW="/dashboard/login",
        SECURITY_LOGOUT_METHODS=["POST"],
        SECURITY_CSRF_IGNORE_UNAUTH_ENDPOINTS=False,
        SECURITY_FLASH_MESSAGES=False,
        SECURITY_SEND_REGISTER_EMAIL=False,
        # No page asks for the password again; its own would take guesses without a limit.
        SECURITY_FRESHNESS=timedelta(-1),
        # One answer for an unknown address and a wrong password.
        SECURITY_RETURN_GENERIC_RESPONSES=True,
        SECURITY_EMAIL_VALIDATOR_ARGS={"check_deliverability": False, "test_environment": True},
    )
    Security(app, People(), register_blueprint=True)
    user_logged_in.connect(_name, app)
    user_logged_out.connect(_end_sessions, app)


def _name(_: Any, user: Person) -> None:
    """Have the log name who has signed in."""
    begin(request=g.request_id, user=user.id)


def _end_sessions(_: Any, user: Any) -> None:
    """Sign a person out everywhere: a copy of a session's cookie must not outlive the session."""
    if user.is_authenticated:
        with transaction() as session:
            changing = update(User).where(User.id == user.id)
            session.execute(changing.values(fs_uniquifier=secrets.token_hex(32)))

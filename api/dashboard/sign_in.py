"""Sign-in and sign-out: Flask-Security on our people and our sessions, and what the log tells."""

import logging
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flask import Flask, g, request
from flask import session as browser
from flask_login import user_logged_out
from flask_security import LoginForm, RoleMixin, Security, UserMixin
from flask_security.datastore import UserDatastore
from flask_security.utils import get_message

from api.dashboard import guesses, passwords
from shared import wall
from shared.db import reading, transaction
from shared.errors import Conflict, NotFound
from shared.log import begin
from shared.services import sign_ins, users
from shared.states import Role
from shared.tables.sign_in import SignIn
from shared.tables.user import User

log = logging.getLogger("api.sign_in")

_SESSION = "_user_id"
"""Under which Flask-Login keeps in the cookie who has signed in: a sign-in's token."""
_BY_THEMSELVES = "/live"
"""Parts of pages that renew themselves; nobody uses the dashboard by that."""


@dataclass
class Person(UserMixin):
    """A user as Flask-Security sees one."""

    id: str  # type: ignore[assignment]
    tenant_id: str
    email: str
    password: str
    active: bool
    role: Role
    must_change_password: bool
    second_factor: str | None
    sign_in: SignIn | None = None
    """The session of this request; none yet while somebody signs in."""
    # With a default, because Flask-Security looks for the name on the class.
    fs_uniquifier: str = ""
    """The session's token, which Flask-Login keeps in the cookie."""
    stored_password: str = field(init=False)
    """The hash as it was read; Flask-Security may make `password` anew."""

    def __post_init__(self) -> None:
        self.stored_password = self.password

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
    """Flask-Security's view of the tables `users` and `sign_ins`."""

    def __init__(self) -> None:
        super().__init__(Person, RoleMixin)

    def find_user(self, case_insensitive: bool = False, **by: Any) -> Person | None:
        (name, value), *_ = by.items()
        if name == "fs_uniquifier":
            return _signed_in(value)
        if name != "email":
            return None
        with wall.asking_for(wall.WHOEVER), reading() as session:
            user = users.by_email(session, value)
        return _person(user) if user is not None else None

    def put(self, person: Person) -> Person:
        """Write what Flask-Security changes: a password hashed anew with newer parameters."""
        with wall.asking_for(person.tenant_id), transaction() as session:
            users.keep_hash(session, person.id, person.stored_password, person.password)
        return person

    def commit(self) -> None:
        """Each call above is a transaction of its own."""


def _signed_in(token: str) -> Person | None:
    """The person of a session, whose the request is from then on."""
    with wall.asking_for(wall.WHOEVER), reading() as session:
        tenant_id = sign_ins.tenant_of(session, token)
    if tenant_id is None:
        return None
    with wall.asking_for(tenant_id), reading() as session:
        found = sign_ins.find(session, token, used=not request.path.endswith(_BY_THEMSELVES))
    if found is None:
        return None
    wall.ask_for(tenant_id)
    return _person(found.user, found.sign_in, token)


def _person(user: User, sign_in: SignIn | None = None, token: str = "") -> Person:
    return Person(
        user.id,
        user.tenant_id,
        user.email,
        user.password,
        user.active,
        Role(user.role),
        user.must_change_password,
        user.second_factor,
        sign_in,
        token,
    )


class SignInForm(LoginForm):
    """The form of Flask-Security, without a session that outlives the browser, and logged."""

    remember = None

    def validate(self, **options: Any) -> bool:
        """Whether the session has begun, whose token Flask-Login keeps in the cookie next."""
        if not super().validate(**options):
            if self.ifield is not None:  # else nobody was named, or the form was forged
                self._log_refusal(self._fault())
            return False
        try:
            self._begin()
        except Conflict:
            self._log_refusal("the password was changed meanwhile")
            self.password.errors = [get_message("INVALID_PASSWORD")[0]]
            return False
        return True

    def _begin(self) -> None:
        person: Any = self.user
        address, agent = request.remote_addr or "", request.user_agent.string
        with wall.asking_for(person.tenant_id), transaction() as session:
            token = sign_ins.begin(session, person.row, person.password, address, agent)
        person.fs_uniquifier = token
        begin(request=g.request_id, user=person.id)
        account = guesses.trace(person.email)
        log.info("signed in by password from %s, account %s", address, account)

    def _fault(self) -> str:
        if self.user is None:
            return "there is no such account"
        return "wrong password" if not self.user_authenticated else "the account is not active"

    def _log_refusal(self, why: str) -> None:
        account = guesses.trace(self.email.data or "")
        if self.user is not None:
            begin(request=g.request_id, user=self.user.id)
        log.warning("sign-in refused from %s, account %s: %s", request.remote_addr, account, why)


def add_security(app: Flask) -> None:
    """Add sign-in and sign-out to the application."""
    app.config.update(
        SECURITY_URL_PREFIX="/dashboard",
        SECURITY_PASSWORD_HASH="argon2",  # noqa: S106 - the name of a method
        # Flask-Security wants a salt of the installation's beside argon2's own.
        SECURITY_PASSWORD_SALT=app.config["SECRET_KEY"],
        SECURITY_PASSWORD_NORMALIZE_FORM=passwords.FORM,
        SECURITY_LOGIN_USER_TEMPLATE="dashboard/login.html",
        SECURITY_POST_LOGIN_VIEW="/dashboard/",
        SECURITY_POST_LOGOUT_VIEW="/dashboard/login",
        SECURITY_LOGOUT_METHODS=["POST"],
        SECURITY_CSRF_IGNORE_UNAUTH_ENDPOINTS=False,
        SECURITY_FLASH_MESSAGES=False,
        SECURITY_SEND_REGISTER_EMAIL=False,
        # Its own page for that would take guesses without a limit; ours ask for the password.
        SECURITY_FRESHNESS=timedelta(-1),
        # One answer for an unknown address and a wrong password.
        SECURITY_RETURN_GENERIC_RESPONSES=True,
        SECURITY_EMAIL_VALIDATOR_ARGS={"check_deliverability": False, "test_environment": True},
    )
    Security(app, People(), register_blueprint=True, login_form=SignInForm)
    user_logged_out.connect(_end_session, app)


def keep(token: str) -> None:
    """Have the browser keep another token for its session."""
    browser[_SESSION] = token


def _end_session(_: Any, user: Any) -> None:
    """End the session itself: a copy of its cookie must not outlive it."""
    if not user.is_authenticated:
        return
    with suppress(NotFound), transaction() as session:
        sign_ins.end(session, user.id, user.sign_in.id)
    log.info("signed out from %s", request.remote_addr)

"""Guesses: how often passwords and codes may be tried, and how the log names who is tried."""

import hashlib
import hmac
import unicodedata

from flask import Flask, current_app, request
from flask_limiter import Limiter
from flask_security import current_user, uia_email_mapper

from api import limits
from shared.settings import settings

ASKING = ("password", "second_factor", "set_up_second_factor", "remove_second_factor")
"""Pages that ask a person who has signed in for a password or a code."""


def limit(app: Flask) -> None:
    """Limit attempts by account and by address: who guesses is slowed down on both."""
    limiter = Limiter(
        limits.sender,
        app=app,
        storage_uri=settings().required("redis_url"),
        storage_options={"socket_timeout": 1, "socket_connect_timeout": 1},
        key_prefix="atelier-sign-in",
        # Without Redis each process counts for itself: slower guessing still, and people get in.
        in_memory_fallback_enabled=True,
        in_memory_fallback=[],
        headers_enabled=True,  # Retry-After
    )
    most = settings().login_limit
    views = app.view_functions
    told = f"Too many attempts: {most} are allowed. Wait a while, then try again."
    by_address = limiter.limit(most, methods=["POST"], error_message=told)
    by_account = limiter.limit(most, key_func=_account, methods=["POST"], error_message=told)
    views["security.login"] = by_account(by_address(views["security.login"]))  # type: ignore[assignment]
    by_person = limiter.shared_limit(
        most, "person", key_func=_person, methods=["POST"], error_message=told
    )
    for page in ASKING:
        views[f"pages.{page}"] = by_person(views[f"pages.{page}"])  # type: ignore[assignment]


def trace(email: str) -> str:
    """What stands for an address in the log: the same for the same, and no way back to it."""
    # Other letters of the same meaning are the same account.
    read = unicodedata.normalize("NFKC", email).strip().casefold()
    key = str(current_app.config["SECRET_KEY"]).encode()
    return hmac.new(key, b"account " + read.encode(), hashlib.sha256).hexdigest()[:16]


def _account() -> str:
    given = request.form.get("email", "")
    # As the sign-in reads it, for which one account has many spellings.
    return f"account {trace(uia_email_mapper(given) or given)}"


def _person() -> str:
    return f"person {current_user.id}"

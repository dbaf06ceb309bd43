"""Sign-ins: the sessions of people in the dashboard, which begin, are used, and end."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, select, text, update
from sqlalchemy.orm import Session

from shared.errors import Conflict, NotFound
from shared.ids import new_id
from shared.tables.sign_in import SignIn
from shared.tables.user import User

LIFE = timedelta(hours=12)
"""After which a sign-in ends in any case."""
IDLE = timedelta(hours=2)
"""After which one that nobody uses ends."""
MOST = 10
"""Of one person at a time; the next one ends the oldest."""
_MOST_TEXT = 200

# A function, because row-level security shows nothing before the tenant is known.
_TENANT = text("SELECT wall.tenant_of_sign_in(:hash)")


@dataclass(frozen=True)
class Found:
    """A sign-in that stands, and whose it is."""

    sign_in: SignIn
    user: User


def begin(session: Session, user: User, password_hash: str, address: str, browser: str) -> str:
    """Begin one, and give the token that its browser keeps, which is never stored.

    `password_hash` is the one by which the password was checked. Raises Conflict when it is the
    person's no more: another was set meanwhile, which has ended all sign-ins before it.
    """
    _hold(session, user.id, password_hash)
    _end_surplus(session, user.id)
    token, hash_ = _new_token()
    session.add(
        SignIn(
            id=new_id("sign_in"),
            tenant_id=user.tenant_id,
            user_id=user.id,
            hash=hash_,
            address=address[:_MOST_TEXT],
            browser=browser[:_MOST_TEXT],
            ends_at=func.now() + LIFE,
        )
    )
    session.flush()
    return token


def _hold(session: Session, user_id: str, password_hash: str) -> None:
    """Lock a person: no other password is set, and no other sign-in begins, before this one has."""
    theirs = select(User.id).where(User.id == user_id, User.password == password_hash)
    if session.scalar(theirs.with_for_update()) is None:
        raise Conflict("The password was changed a moment ago. Sign in with the new one.")


def _end_surplus(session: Session, user_id: str) -> None:
    """Delete a person's ended ones, and the oldest, so that there is room for another."""
    kept = (
        select(SignIn.id)
        .where(SignIn.user_id == user_id, _stands())
        .order_by(SignIn.id.desc())
        .limit(MOST - 1)
    )
    session.execute(delete(SignIn).where(SignIn.user_id == user_id, SignIn.id.not_in(kept)))


def tenant_of(session: Session, token: str) -> str | None:
    """Whose tenant's a sign-in is, whether it still stands or not; None where there is none."""
    return session.scalar(_TENANT, {"hash": _hash(token)})


def find(session: Session, token: str, *, used: bool) -> Found | None:
    """The sign-in of a token, if it stands. `used`: it is used now."""
    found = session.execute(
        select(SignIn, User)
        .join(User, User.id == SignIn.user_id)
        .where(SignIn.hash == _hash(token), _stands())
    ).first()
    if found is None:
        return None
    if used:
        # As for keys: to the minute, so that a page with a hundred pictures writes once.
        this = update(SignIn).where(
            SignIn.id == found.SignIn.id, SignIn.used_at < func.now() - timedelta(minutes=1)
        )
        session.execute(
            this.values(used_at=func.now()).execution_options(synchronize_session=False)
        )
    return Found(found.SignIn, found.User)


def of_user(session: Session, user_id: str) -> Sequence[SignIn]:
    """A person's sign-ins that stand, the newest first."""
    return session.scalars(
        select(SignIn).where(SignIn.user_id == user_id, _stands()).order_by(SignIn.id.desc())
    ).all()


def renew(session: Session, id_: str, *, second_factor: bool = False) -> str:
    """Another token for a sign-in, whose old one is worth nothing from now on. Its end stays.

    `second_factor`: it was shown. Raises NotFound when it has ended meanwhile.
    """
    token, hash_ = _new_token()
    renewed = update(SignIn).where(SignIn.id == id_, _stands()).values(hash=hash_)
    if second_factor:
        renewed = renewed.values(second_factor_at=func.now(), offered_secret=None)
    if session.execute(renewed).rowcount == 0:  # type: ignore[attr-defined]
        raise NotFound("This sign-in has ended.")
    return token


def offer(session: Session, id_: str, secret: str) -> str:
    """Keep the secret of a second factor that is being set up; gives the one that is kept already,
    if there is one. Raises NotFound when the sign-in has ended meanwhile.
    """
    kept = func.coalesce(SignIn.offered_secret, secret)
    offered = update(SignIn).where(SignIn.id == id_).values(offered_secret=kept)
    found = session.scalar(offered.returning(SignIn.offered_secret))
    if found is None:
        raise NotFound("This sign-in has ended.")
    return found


def end(session: Session, user_id: str, id_: str) -> None:
    """End one of a person's. Raises NotFound."""
    ended = delete(SignIn).where(SignIn.user_id == user_id, SignIn.id == id_)
    if session.execute(ended).rowcount == 0:  # type: ignore[attr-defined]
        raise NotFound(f"No sign-in {id_!r} of yours; it may have ended by itself.")


def end_all(session: Session, user_id: str, *, but: str | None = None) -> None:
    """End all of a person's, or all but one."""
    session.execute(delete(SignIn).where(SignIn.user_id == user_id, SignIn.id != (but or "")))


def _stands() -> ColumnElement[bool]:
    return (SignIn.ends_at > func.now()) & (SignIn.used_at > func.now() - IDLE)


def _new_token() -> tuple[str, bytes]:
    token = secrets.token_urlsafe(32)
    return token, _hash(token)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()

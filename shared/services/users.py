"""Users: people who sign in to the dashboard. What is kept of their passwords are hashes."""

import secrets
from collections.abc import Sequence

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared.errors import Conflict, Invalid, NotFound
from shared.ids import new_id
from shared.services import second_factors, sign_ins, tenants
from shared.states import Role
from shared.tables.user import User

# A function, because it must find people before it is known whose tenant they are.
_BY_EMAIL = select(User).from_statement(text("SELECT * FROM wall.person_of_email(:email)"))


def add(
    session: Session,
    email: str,
    tenant_name: str,
    role: Role,
    password_hash: str,
    *,
    must_change: bool,
) -> User:
    """A new person. Raises Invalid, NotFound, or Conflict when the address is taken."""
    email = normal(email)
    tenant = tenants.tenant_named(session, tenant_name)
    new = {
        "id": new_id("user"),
        "tenant_id": tenant.id,
        "email": email,
        "role": role,
        "password": password_hash,
        "must_change_password": must_change,
        "fs_uniquifier": secrets.token_hex(32),
    }
    adding = insert(User).values(new).on_conflict_do_nothing(index_elements=["email"])
    added = session.scalar(adding.returning(User))
    if added is None:
        raise Conflict(f"There is a user {email} already.", param="email")
    return added


def normal(email: str) -> str:
    """An address in the form in which it is kept. Raises Invalid when it is none."""
    given, email = email, email.strip().lower()
    if "@" not in email[1:-1]:
        raise Invalid(f"{given!r} is not an email address", param="email")
    return email


def by_email(session: Session, email: str) -> User | None:
    """The person of an address, of whatever tenant."""
    return session.scalar(_BY_EMAIL, {"email": email})


def named(session: Session, email: str) -> User:
    """The same. Raises NotFound."""
    found = by_email(session, email.strip())
    if found is None:
        raise NotFound(f"No user {email!r}. `atelier user list` tells who there is.")
    return found


def of_tenant(session: Session, tenant_id: str) -> Sequence[User]:
    """A tenant's people, by address."""
    return session.scalars(
        select(User).where(User.tenant_id == tenant_id).order_by(User.email)
    ).all()


def set_active(session: Session, email: str, active: bool) -> None:
    """Let a person in, or not, and then end their sign-ins. Raises NotFound."""
    user = named(session, email)
    session.execute(update(User).where(User.id == user.id).values(active=active))
    if not active:
        sign_ins.end_all(session, user.id)


def sign_out(session: Session, email: str) -> None:
    """Sign a person out everywhere. Raises NotFound."""
    sign_ins.end_all(session, named(session, email).id)


def remove_second_factor(session: Session, email: str) -> None:
    """Have a person sign in by the password alone, and end their sign-ins. Raises NotFound."""
    user = named(session, email)
    second_factors.remove(session, user.id)
    sign_ins.end_all(session, user.id)


def keep_hash(session: Session, user_id: str, old_hash: str, new_hash: str) -> None:
    """Keep the hash of the same password, made anew with newer parameters; nothing is kept when
    another password was set meanwhile.
    """
    same = update(User).where(User.id == user_id, User.password == old_hash)
    session.execute(same.values(password=new_hash))


def set_password(
    session: Session,
    user_id: str,
    password_hash: str,
    *,
    must_change: bool,
    but: str | None = None,
) -> None:
    """Set another password, and end the person's sign-ins, or all but one."""
    changing = update(User).where(User.id == user_id)
    session.execute(changing.values(password=password_hash, must_change_password=must_change))
    sign_ins.end_all(session, user_id, but=but)

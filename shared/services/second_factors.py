"""Second factors: the codes of authenticator apps (RFC 6238), and recovery codes for their loss."""

import base64
import hashlib
import hmac
import secrets
from datetime import UTC, datetime

from pyotp import TOTP, random_base32
from sqlalchemy import func, literal, update
from sqlalchemy.orm import Session

from shared.errors import Conflict, Invalid
from shared.tables.user import User

_DRIFT = (-1, 0, 1)
"""Half-minutes by which an app's clock may be off."""
_RECOVERY_CODES = 10
_RECOVERY_BYTES = 15
"""120 bits: so many that a hash needs neither salt nor slowness."""
_GROUP = 4


def new_secret() -> str:
    """What an app and this installation would share: 160 random bits in base 32."""
    return random_base32()


def address(secret: str, email: str) -> str:
    """The secret as apps read it from a picture: `otpauth://…`."""
    return TOTP(secret).provisioning_uri(name=email, issuer_name="Atelier")


def set_up(session: Session, user_id: str, secret: str, code: str) -> list[str]:
    """Have a person show a second factor from now on; gives recovery codes, this once.

    `code` proves that the app holds the secret. Raises Invalid, or Conflict where there is one.
    """
    step = _step(secret, code)
    if step is None:
        raise Invalid("The code is not the one that the app shows now. Try the next.", param="code")
    recovery = [_new_recovery_code() for _ in range(_RECOVERY_CODES)]
    setting = update(User).where(User.id == user_id, User.second_factor.is_(None))
    changes = {
        "second_factor": secret,
        "second_factor_step": step,
        "recovery_hashes": [_hash(each) for each in recovery],
    }
    if session.execute(setting.values(changes)).rowcount == 0:  # type: ignore[attr-defined]
        raise Conflict("There is a second factor already; remove it first.")
    return recovery


def show(session: Session, user_id: str, secret: str, code: str) -> str:
    """Use up a code, of the app or for recovery; gives which of the two it was.

    Raises Invalid when it is wrong or was used before.
    """
    step = _step(secret, code)
    this = update(User).where(User.id == user_id, User.second_factor == secret)
    if step is not None:
        unused = func.coalesce(User.second_factor_step, 0) < step
        using = this.where(unused).values(second_factor_step=step)
    else:
        hash_ = _hash(code)
        left = func.array_remove(User.recovery_hashes, hash_)
        using = this.where(literal(hash_) == func.any(User.recovery_hashes)).values(
            recovery_hashes=left
        )
    if session.execute(using).rowcount == 0:  # type: ignore[attr-defined]
        raise Invalid("The code is wrong, or was used before. Wait for the next.", param="code")
    return "recovery code" if step is None else "app"


def remove(session: Session, user_id: str) -> None:
    """Have a person show none from now on."""
    removing = update(User).where(User.id == user_id)
    session.execute(
        removing.values(second_factor=None, second_factor_step=None, recovery_hashes=[])
    )


def _step(secret: str, code: str) -> int | None:
    """Of which half-minute, of those around now, a code is."""
    app = TOTP(secret)
    now = app.timecode(datetime.now(UTC))
    shown = "".join(code.split()).encode()
    steps = (now + drift for drift in _DRIFT)
    fitting = [
        step for step in steps if hmac.compare_digest(app.generate_otp(step).encode(), shown)
    ]
    return max(fitting, default=None)


def _new_recovery_code() -> str:
    """As people can copy it: `ABCD-EFGH-…`."""
    letters = base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode()
    return "-".join(letters[at : at + _GROUP] for at in range(0, len(letters), _GROUP))


def _hash(recovery_code: str) -> bytes:
    letters = "".join(filter(str.isalnum, recovery_code)).upper()
    return hashlib.sha256(letters.encode()).digest()

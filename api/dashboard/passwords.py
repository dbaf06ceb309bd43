"""Passwords: which are taken, how they are made for people, and what is kept of them."""

import secrets
import unicodedata
from typing import Final

from flask_security.utils import hash_password
from zxcvbn import zxcvbn

from shared.errors import Invalid

LEAST_CHARACTERS = 15
FORM: Final = "NFKD"
"""In which one Unicode text is one password, however a keyboard wrote it."""
_MADE_BYTES = 12
_JUDGED_CHARACTERS = 72
"""Of a longer one the beginning is judged: whatever follows makes it no weaker."""
_STRONG = 3
"""Of zxcvbn's 0 to 4: a hundred million guesses and more."""


def make() -> str:
    """A password of 96 random bits."""
    return secrets.token_urlsafe(_MADE_BYTES)


def normal(password: str) -> str:
    """A password in the form in which it is hashed, as sign-in does it too."""
    return unicodedata.normalize(FORM, password)


def check(password: str, email: str) -> None:
    """Raises Invalid for one that is too short or easily guessed.

    Any characters are good. Lists of leaked passwords, of names and of words, patterns of
    keyboards, and the person's own address are what it is judged by.
    """
    if len(password) < LEAST_CHARACTERS:
        raise Invalid(
            f"The new password has fewer than {LEAST_CHARACTERS} characters. Take a few words.",
            param="new",
        )
    known = [email, *email.split("@"), "atelier", "dashboard"]
    judged = zxcvbn(password[:_JUDGED_CHARACTERS], user_inputs=known)
    if judged["score"] < _STRONG:
        feedback = judged["feedback"]
        why = " ".join(filter(None, [feedback["warning"], *feedback["suggestions"]]))
        raise Invalid(f"The new password is easy to guess. {why}".strip(), param="new")


def hashed(password: str) -> str:
    """argon2id, by the very settings with which sign-in verifies it."""
    return str(hash_password(normal(password)))

"""What the doctor finds amiss, and the remedy where an engine itself has only an error to say."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.orm import Session

from shared.db import reading
from shared.errors import AtelierError


class Fault(AtelierError):
    """Something does not stand as it should."""


@contextmanager
def remedied(remedy: str, *kinds: type[Exception]) -> Iterator[None]:
    """Tell of such errors in the block in one line, with what mends them."""
    try:
        yield
    except kinds as error:
        raise Fault(f"{_first_line(error)}; {remedy}") from error


@contextmanager
def looking() -> Iterator[Session]:
    """A session that reads the database. Raises Fault where it does not answer."""
    with answering(), reading() as session:
        yield session


@contextmanager
def answering() -> Iterator[None]:
    """Tell what to do where the database does not answer in the block."""
    reach = (
        "see that PostgreSQL runs, and what ATELIER_DATABASE_URL and ATELIER_API_DATABASE_URL name"
    )
    tables = "its tables are of another release: atelier migrate"
    log = "PostgreSQL's log tells more"
    with (
        remedied(log, SQLAlchemyError),
        remedied(tables, ProgrammingError),
        remedied(reach, OperationalError),
    ):
        yield


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

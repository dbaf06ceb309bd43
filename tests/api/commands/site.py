"""A served API that fails as a test says, and the commands run against it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from socket import SHUT_RDWR
from typing import Any

from click.testing import CliRunner, Result
from werkzeug.test import run_wsgi_app

from api.__main__ import main
from tests.threads import Wsgi


@dataclass
class Fault:
    """What happens to requests of a method whose path ends so, a number of times."""

    method: str
    ending: str
    times: int
    status: str | None = None
    """The answer instead of the server's own; None: its own answer is lost on the way."""
    headers: tuple[tuple[str, str], ...] = (("Retry-After", "0"),)


@dataclass
class Site:
    """An application in front of the API that keeps what it saw."""

    app: Wsgi
    address: str = ""
    faults: list[Fault] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        self.seen.append(environ)
        fault = self._fault_of(environ)
        if fault is None:
            return self.app(environ, start)
        fault.times -= 1
        if fault.status is not None:
            start(fault.status, list(fault.headers))
            return [b""]
        run_wsgi_app(self.app, environ, buffered=True)
        environ["werkzeug.socket"].shutdown(SHUT_RDWR)
        raise ConnectionResetError

    def _fault_of(self, environ: dict[str, Any]) -> Fault | None:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        for fault in self.faults:
            if fault.times and fault.method == method and path.endswith(fault.ending):
                return fault
        return None

    def requests(self, method: str, path: str) -> list[dict[str, Any]]:
        """What was asked of a path."""
        return [
            environ
            for environ in self.seen
            if (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == (method, path)
        ]


def run(*arguments: object, stdin: str | None = None) -> Result:
    """Run a command in this process, whatever its exit code."""
    return CliRunner().invoke(main, [str(each) for each in arguments], input=stdin)


def said(*arguments: object, stdin: str | None = None) -> str:
    """What a command that succeeds prints."""
    done = run(*arguments, stdin=stdin)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout

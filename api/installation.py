"""Running the whole installation on one machine, and finding the one that runs."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec

from migrations.commands import upgrade
from shared.embedded.engines import Urls
from shared.embedded.home import secret
from shared.embedded.installation import Place, programs
from shared.embedded.process import Program
from shared.embedded.up import serve
from shared.errors import Permanent
from shared.settings import adopt, environment, settings

_NOTE = "environment.json"
"""Beside the engines' ports in the home's folder `run`: the variables that name them, for
`atelier`.
"""


def run(ready: Callable[[str], None]) -> None:
    """Serve until Ctrl-C. `ready` is told the address once everything answers.

    Raises a Permanent error whose message is the remedy.
    """
    if find_spec("torch") is None:
        raise Permanent("The workers' packages are missing: pip install '.[worker]'")
    ours = settings()
    note = ours.home / "run" / _NOTE

    def prepare(urls: Urls) -> list[Program]:
        values = _variables(urls)
        adopt(values)
        # Not before: the note of another `atelier up` that runs on this home stays.
        at_end.callback(note.unlink, missing_ok=True)
        note.write_text(json.dumps(values), encoding="utf-8")
        note.chmod(0o600)
        upgrade()
        return programs(Place(ours.host, ours.port, ours.home / "log", environment()))

    with ExitStack() as at_end:
        serve(
            ours.home,
            prepare,
            database_url=ours.database_url,
            redis_url=ours.redis_url,
            host=ours.host,
            port=ours.port,
            ready=lambda _: ready(f"http://{ours.host}:{ours.port}"),
        )


def _variables(urls: Urls) -> dict[str, str]:
    """What the programs need beside this process's own environment."""
    ours = settings()
    values = {
        "ATELIER_DATABASE_URL": str(urls.database),
        "ATELIER_REDIS_URL": str(urls.redis),
        "ATELIER_HOME": str(ours.home),
        "ATELIER_STORAGE_URL": ours.storage_url or f"file:{ours.home / 'objects'}",
    }
    if urls.api_database is not None:
        values["ATELIER_API_DATABASE_URL"] = urls.api_database
    if ours.secret_key is None:
        values["ATELIER_SECRET_KEY"] = secret(ours.home, "secret_key")
    return values


def adopt_running() -> None:
    """Use the engines of the `atelier up` that runs here, unless the settings name a database.

    Raises Permanent when there is none.
    """
    if settings().database_url is not None:
        return
    note = settings().home / "run" / _NOTE
    if not note.is_file():
        raise Permanent(
            f"No installation runs on {settings().home}. Start it with `atelier up`, "
            "or set ATELIER_DATABASE_URL."
        )
    adopt(json.loads(note.read_text(encoding="utf-8")))

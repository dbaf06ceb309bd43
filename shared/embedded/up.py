"""The whole of `atelier up` but its command: engines, programs, and the watch over both."""

from collections.abc import Callable, Sequence
from pathlib import Path

from shared.embedded.engines import Urls, opened, started
from shared.embedded.ports import require_free_port
from shared.embedded.process import Program
from shared.embedded.stopping import StopRequest
from shared.embedded.supervisor import Guardian, supervise


def serve(
    home: Path,
    programs: Callable[[Urls], Sequence[Program]],
    *,
    database_url: str | None,
    redis_url: str | None,
    host: str,
    port: int,
    ready: Callable[[Urls], None],
) -> None:
    """Run an installation on a home until SIGINT, SIGTERM or SIGHUP; no process is left after it.

    An engine runs for each URL that is None. Once the engines answer, `programs` says what else to
    run (it may migrate first), and `ready` is called when all of it is ready. `host` and `port` are
    where one of the programs will listen. A second signal ends the wait for slow programs.
    Call it from the main thread. Raises a subclass of EmbeddedError, whose message is the remedy.
    """
    with StopRequest() as stop:
        try:
            with opened(home) as house:
                require_free_port(port, host)
                with (
                    Guardian(house.run) as guardian,
                    started(
                        house,
                        postgres=database_url is None,
                        valkey=redis_url is None,
                        cancelled=stop.asked,
                    ) as engines,
                ):
                    urls = Urls(
                        database_url or engines.urls.database,
                        redis_url or engines.urls.redis,
                        engines.urls.api_database,
                    )
                    with stop.interrupting():
                        group = programs(urls)
                    supervise(
                        group,
                        house.run,
                        stop=stop,
                        guardian=guardian,
                        engines=engines.processes,
                        on_ready=lambda: ready(urls),
                    )
        except KeyboardInterrupt:
            return  # asked to stop before everything ran

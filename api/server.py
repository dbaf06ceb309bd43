"""gunicorn's settings, read by `gunicorn --config python:api.server`, and its worker of ours."""

from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from api import waiters


class Worker(ThreadWorker):
    """gunicorn's worker with threads: what waits in it learns that it is to end."""

    def handle_exit(self, sig: int, frame: Any) -> None:
        waiters.ENDING.begin(self.cfg.graceful_timeout)
        super().handle_exit(sig, frame)


wsgi_app = "api.app:application()"
worker_class = Worker
workers = 2
# Eight answer while every place to wait is taken.
threads = waiters.CALLS.most + waiters.FOLLOWERS.most + 8
graceful_timeout = 10
loglevel = "warning"
# Whom to believe is for ProxyFix alone: gunicorn would believe whatever comes over loopback.
forwarded_allow_ips = ""

"""Hints: content-free Celery messages that say "lane X has work".

No work ever lives in a message.
"""

import logging
import threading

from celery import Celery
from kombu.exceptions import KombuError
from redis import Redis
from redis.exceptions import RedisError

from shared import metrics
from shared.settings import settings
from shared.states import Lane

log = logging.getLogger(__name__)

WORK = "work"
"""Name of the one task: `work(lane)`."""

_RETRY_S = 1.0


def make_celery() -> Celery:
    """The Celery application; workers add their task to it, everybody else only sends."""
    app = Celery("atelier", broker=settings().required("redis_url"), set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        # The lease recovers what a lost process held; a requeued message would only add a hint.
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": "atelier:",
            "socket_timeout": 30,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
    )
    return app


class Hints:
    """Sends hints from a thread of its own, so that a lost or slow Redis never delays a request."""

    def __init__(self) -> None:
        self._waiting: set[Lane] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def send(self, lane: Lane) -> None:
        """Have the lane's workers look for work soon.

        Returns at once; several calls may become one hint.
        """
        with self._changed:
            self._waiting.add(lane)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        app = make_celery()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                lane = self._waiting.pop()
            try:
                app.send_task(WORK, args=[lane], queue=lane, retry=False)
                metrics.HINTS.labels(lane).inc()
            except (KombuError, RedisError, OSError) as error:
                log.warning("no hint for lane %s, trying again: %s", lane, error)
                with self._changed:
                    self._waiting.add(lane)
                    self._changed.wait(_RETRY_S)


_hints = Hints()


def hint(lane: Lane) -> None:
    """Have the lane's workers look for work soon.

    To be called after the transaction has committed.
    """
    _hints.send(lane)


def hint_now(lane: Lane) -> None:
    """The same before it returns, for a process that ends soon. Where Redis is away, the sweeper
    makes it good.
    """
    try:
        make_celery().send_task(WORK, args=[lane], queue=lane, retry=False)
    except (KombuError, RedisError, OSError) as error:
        log.warning("no hint for lane %s: %s", lane, error)


def lanes_without_hint() -> list[Lane]:
    """Lanes for which Redis holds no hint. Raises RedisError when Redis does not answer."""
    with Redis.from_url(settings().required("redis_url"), socket_timeout=5) as redis:
        return [lane for lane in Lane if not redis.exists(f"atelier:{lane}")]

"""The one task: a hint that a lane has work.

It carries no content and may come any number of times.
"""

from shared.queues import WORK
from shared.states import Lane
from worker.app import app


@app.task(name=WORK)
def work(lane: str) -> None:
    from worker import runner

    runner.drain(Lane(lane))

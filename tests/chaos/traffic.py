"""Tenants of the nemesis: each submits, cancels, retries, pauses and resumes, as its seed says."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random
from threading import Event

from tests.chaos.client import Customer
from tests.threads import beside

_LARGEST = 60
_CHANGES = ("cancel", "retry", "pause", "resume", "resume")


@dataclass
class Traffic:
    """What one tenant has had accepted: the number of items by job."""

    customer: Customer
    random: Random
    webhook: str
    accepted: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    changes: Counter[tuple[str, int | None]] = field(default_factory=Counter)
    """What it asked of its jobs, by what and the status of the answer."""

    def run(self, ended: Event) -> None:
        """Keep the system busy until told to end."""
        while not ended.is_set():
            if self.accepted and self.random.random() < 0.3:
                job_id = self.random.choice(list(self.accepted)[-20:])
                what = self.random.choice(_CHANGES)
                self.changes[what, self.customer.change(job_id, what)] += 1
            else:
                self._submit()
            ended.wait(self.random.uniform(0.05, 0.5))

    def _submit(self) -> None:
        params = [self._item() for _ in range(self.random.randint(1, _LARGEST))]
        fields = {"webhook": self.webhook, "priority": self.random.randint(-5, 5)}
        try:
            job_id = self.customer.submit(params, within_s=90, **fields)
        except TimeoutError:
            self.unanswered += 1
        else:
            self.accepted[job_id] = len(params)

    def _item(self) -> dict[str, object]:
        drawn = self.random.random()
        if drawn < 0.02:
            return {"fault": "refuse"}
        if drawn < 0.03:
            return {"fault": "raise"}
        return {"n": self.random.choice((1, 1, 1, 2)), "seconds": self.random.choice((0.0, 0.01))}


@contextmanager
def flowing(traffics: list[Traffic]) -> Iterator[None]:
    """All of them at work while the block runs."""
    ended = Event()
    with ExitStack() as stack:
        for each in traffics:
            stack.enter_context(beside(lambda each=each: each.run(ended), ended.set))
        yield

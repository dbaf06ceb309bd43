"""How long a program that dies again and again waits for its next start."""

import pytest

from shared.embedded import supervisor
from shared.embedded.supervisor import Watch, in_words


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Mortal:
    """A process that is dead whenever it is looked at, and notes when it was started."""

    def __init__(self, clock: Clock):
        self.clock = clock
        self.starts = [clock.now]
        self.alive = False
        self.disk_full = False

    @property
    def started_at(self) -> float:
        return self.starts[-1]

    def ended(self) -> int | None:
        return None if self.alive else 1

    def log_tail(self) -> str:
        return "could not write: No space left on device" if self.disk_full else ""

    def start(self) -> None:
        self.starts.append(self.clock.now)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(supervisor, "time", clock)
    return clock


def test_deaths_in_quick_succession_wait_from_one_second_doubling_to_thirty(clock, capsys):
    process = Mortal(clock)
    watch = Watch(process)

    while len(process.starts) < 9:
        watch.tend()
        clock.now += 0.25

    waits = [late - early for early, late in zip(process.starts, process.starts[1:], strict=False)]
    assert [round(wait - 0.25, 2) for wait in waits[1:]] == [1, 2, 4, 8, 16, 30, 30]
    assert waits[0] == 0
    assert "ended with status 1; starting it again in 30 s" in capsys.readouterr().err


def test_a_program_that_lived_for_a_while_is_started_again_at_once(clock):
    process = Mortal(clock)
    watch = Watch(process)
    for _ in range(40):
        watch.tend()
        clock.now += 0.25

    process.alive = True
    clock.now += 60
    watch.tend()
    process.alive = False
    watch.tend()

    assert process.starts[-1] == clock.now


def test_a_death_from_a_full_disk_says_so(clock, capsys):
    process = Mortal(clock)
    process.disk_full = True

    Watch(process).tend()

    assert "ended with status 1 because the disk is full" in capsys.readouterr().err


def test_a_start_that_the_system_refuses_is_tried_again_later(clock, capsys):
    process = Mortal(clock)
    refused = [OSError(12, "Cannot allocate memory")]
    start, process.start = process.start, lambda: refuse_once(refused) or start()
    watch = Watch(process)

    watch.tend()
    assert len(process.starts) == 1
    clock.now += 31
    watch.tend()

    assert len(process.starts) == 2
    assert "Cannot allocate memory; trying again" in capsys.readouterr().err


def refuse_once(errors: list[OSError]) -> None:
    if errors:
        raise errors.pop()


def test_an_end_is_told_in_words():
    assert in_words(-9) == "was ended by SIGKILL"
    assert in_words(3) == "ended with status 3"

"""What tests of the shared room have in common: the networks that requests may leave for."""

from collections.abc import Callable, Iterator

import pytest

from tests.settings import forget_settings

Allow = Callable[[str], None]


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Allow]:
    """No network is allowed, whatever the environment says, until this is called with some."""

    def allow_these(networks: str) -> None:
        monkeypatch.setenv("ATELIER_EGRESS_ALLOW", networks)
        forget_settings()

    allow_these("")
    yield allow_these
    monkeypatch.undo()
    forget_settings()

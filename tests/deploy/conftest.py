"""What both tests of the compose file look at."""

from typing import Any

import pytest

from tests.deploy.composed import resolved


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return resolved()["services"]

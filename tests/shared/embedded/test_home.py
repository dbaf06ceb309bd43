"""The home: who may look into it, and what is made in it once."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.embedded import home as home_room
from shared.embedded.errors import DiskFull, HomeBusy, HomeUnusable
from shared.embedded.home import locked, make_home, require_space, secret


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_its_owner_looks_into_a_home(home):
    made = make_home(home)
    secret(home, "secret_key")

    # Root's engines run as another user, who passes through but lists nothing.
    passage = 0o711 if os.geteuid() == 0 else 0o700
    assert (mode(made.path), mode(made.run)) == (passage, passage)
    assert {mode(made.objects), mode(made.log), mode(home / "secrets")} == {0o700}
    assert mode(home / "secrets" / "secret_key") == 0o600


def test_a_secret_is_made_once_and_long_enough_for_a_session_key(home):
    first = secret(home, "secret_key")

    assert secret(home, "secret_key") == first
    assert len(first) >= 32
    assert secret(home, "another") != first


def test_two_who_ask_at_once_get_the_same_secret(home):
    with ThreadPoolExecutor(16) as pool:
        answers = set(pool.map(lambda _: secret(home, "secret_key"), range(64)))

    assert len(answers) == 1
    assert os.listdir(home / "secrets") == ["secret_key"]


def test_a_home_is_held_by_one_process_and_free_again_after_it(home):
    made = make_home(home)

    named = rf"{home} \(pid {os.getpid()}\).*ATELIER_HOME"
    with locked(made), pytest.raises(HomeBusy, match=named), locked(made):
        pass

    with locked(made):
        pass


def test_a_home_that_cannot_be_made_says_which_setting_to_change(home):
    (home / "file").write_text("in the way")

    with pytest.raises(HomeUnusable, match=r"file.*ATELIER_HOME"):
        make_home(home / "file" / "home")


def test_a_full_disk_is_named_with_its_figure_and_remedy(home, monkeypatch):
    monkeypatch.setattr(home_room, "free_bytes", lambda path: 100 * 1024**2)

    with pytest.raises(DiskFull, match=rf"{home} is full: 100 MB are free, 512 MB .*ATELIER_HOME"):
        require_space(home)

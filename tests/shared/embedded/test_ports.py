"""Ports: kept while they are free, and spoken of when they are not."""

import os
import socket
import sys

import pytest

from shared.embedded.errors import PortTaken
from shared.embedded.ports import is_free, kept_port, require_free_port


@pytest.fixture
def taken_port(free_port):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port))
        listener.listen()
        yield free_port


def test_a_port_is_kept_while_it_is_free(tmp_path):
    first = kept_port(tmp_path / "port")

    assert kept_port(tmp_path / "port") == first


def test_another_port_is_chosen_when_the_kept_one_is_taken(tmp_path, taken_port):
    (tmp_path / "port").write_text(str(taken_port))

    port = kept_port(tmp_path / "port")

    assert port != taken_port
    assert is_free(port)
    assert (tmp_path / "port").read_text() == str(port)


def test_a_half_written_port_file_is_written_anew(tmp_path):
    (tmp_path / "port").write_text("")

    assert is_free(kept_port(tmp_path / "port"))


@pytest.mark.skipif(sys.platform != "linux", reason="the holder is found in /proc")
@pytest.mark.parametrize("asked", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_names_its_holder_and_the_setting(taken_port, asked):
    with pytest.raises(PortTaken, match=rf"{taken_port} .* pid {os.getpid()} \(.*ATELIER_PORT"):
        require_free_port(taken_port, asked)


def test_a_port_whose_connections_just_ended_is_free(free_port):
    address = ("127.0.0.1", free_port)
    with socket.create_server(address) as listener, socket.create_connection(address):
        listener.accept()[0].close()  # the server closes first: TIME_WAIT stays on its port

    require_free_port(free_port, "127.0.0.1")

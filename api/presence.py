"""Whether the client still waits for the answer to its request."""

import socket
import ssl

from flask import request

Connection = socket.socket | None


def connection() -> Connection:
    """Of this request's client; None where the server does not tell."""
    found = request.environ.get("gunicorn.socket")
    # One that is encrypted here cannot be looked into.
    return None if isinstance(found, ssl.SSLSocket) else found


def has_left(client: Connection) -> bool:
    """Whether it has closed its connection, or its end of it. Looks, and does not wait."""
    if client is None:
        return False
    try:
        return not client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True

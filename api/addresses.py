"""Where clients find this installation."""

from flask import request

from shared.errors import Invalid
from shared.settings import settings


def base_url() -> str:
    """The setting `public_url`, or what this request called us. Raises Invalid if that is nothing
    that an address could begin with.
    """
    public = settings().public_url
    if public is None and not request.host:
        raise Invalid("Host: not the name of a host; send the header `Host` as your library does")
    return public or request.host_url.rstrip("/")

"""Where clients find this installation."""

from flask import request

from shared.settings import settings


def base_url() -> str:
    """The setting `public_url`, or what this request called us."""
    return settings().public_url or request.host_url.rstrip("/")

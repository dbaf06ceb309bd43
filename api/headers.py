"""Headers of safety, on every answer: what a browser may do with it, and that nobody keeps it."""

from flask import Flask, request
from werkzeug.wrappers import Response as AnyResponse

from shared.settings import settings

_EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Answers hold what is one tenant's; what anybody may keep says so itself.
    "Cache-Control": "no-store",
}
_A_YEAR_S = 365 * 86_400

_OURS = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; img-src 'self' data:; style-src 'self'"
)
"""What pages of ours load: files of this site, and pictures that stand in Bootstrap's styles."""

POLICIES = {
    "/dashboard": _OURS,
    "/docs": _OURS,
}
"""The content security policies of pages, by the beginning of their addresses."""
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The policy of every other answer: it is no page."""


def add_to(app: Flask) -> None:
    """Give every answer of the application these headers, where it has none of its own."""
    app.after_request(_protect)


def of_an_answer(path: str = "") -> dict[str, str]:
    """The headers of an answer at a path."""
    page = next((begin for begin in POLICIES if path.startswith(begin)), None)
    wanted = {
        **_EVERYWHERE,
        "Content-Security-Policy": POLICIES[page] if page else _NOTHING,
        # Over HTTPS the check against forged forms asks from which page of ours a form was sent.
        "Referrer-Policy": "same-origin" if page else "no-referrer",
    }
    if settings().secure_cookies:
        below = "; includeSubDomains" if settings().https_subdomains else ""
        wanted["Strict-Transport-Security"] = f"max-age={_A_YEAR_S}{below}"
    return wanted


def _protect(response: AnyResponse) -> AnyResponse:
    # `setdefault` would look through all of them for each.
    own = {name.lower() for name, _ in response.headers}
    for name, value in of_an_answer(request.path).items():
        if name.lower() not in own:
            response.headers.add(name, value)
    return response

"""Headers of safety on every answer, whoever asked and whatever came of it."""

from pathlib import Path

import pytest
from flask import Flask, request
from werkzeug.http import parse_options_header

from api import auth
from api.app import create_app
from tests.api.client import JOBS, Api, ok
from tests.security.browser import signed_in, token_of
from tests.settings import forget_settings

EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
ANSWERS = [
    JOBS,
    f"{JOBS}/none",
    "/nothing",
    "/openapi.json",
    "/docs",
    "/docs/swagger/css/swagger-ui.css",
    "/",
    "/dashboard/",
    "/dashboard/login",
    "/dashboard/static/atelier.css",
    "/api/v1/health/live",
]
EVIL = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(document.cookie)</script></svg>'


@pytest.mark.parametrize("path", ANSWERS)
def test_every_answer_says_that_it_is_not_framed_not_guessed_and_not_lent(
    api: Api, path: str
) -> None:
    headers = api.get(path).headers

    assert {name: headers.get(name) for name in EVERYWHERE} == EVERYWHERE
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] in {"no-referrer", "same-origin"}


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        (JOBS, "application/json"),
        ("/nothing", "application/json"),
        ("/docs", "text/html; charset=utf-8"),
        ("/dashboard/login", "text/html; charset=utf-8"),
        ("/dashboard/static/atelier.css", "text/css; charset=utf-8"),
    ],
)
def test_every_body_has_its_type_and_a_text_its_character_set(
    api: Api, path: str, media_type: str
) -> None:
    assert api.get(path).headers["Content-Type"] == media_type


@pytest.mark.parametrize("path", ANSWERS)
def test_no_policy_lets_what_stands_in_a_page_run(api: Api, path: str) -> None:
    policy = api.get(path).headers["Content-Security-Policy"]

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy


def test_what_is_one_tenants_is_kept_by_nobody_on_the_way(app: Flask, api: Api) -> None:
    file = ok(api.upload(b"abc"))
    made = api.post("/api/v1/keys", {"name": "a", "scopes": ["read"]})
    page = signed_in(app, "acme").get("/dashboard/")

    for answer in (made, page, api.get(JOBS), api.get(f"/v1/files/{file['id']}/content")):
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("secure", "below", "demanded"),
    [
        (True, True, "max-age=31536000; includeSubDomains"),
        (True, False, "max-age=31536000"),
        (False, True, None),
    ],
)
def test_https_is_demanded_for_a_year_and_of_subdomains_where_all_have_it(
    api_key: str, secure: bool, below: bool, demanded: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_SECURE_COOKIES", str(secure).lower())
    monkeypatch.setenv("ATELIER_HTTPS_SUBDOMAINS", str(below).lower())
    forget_settings()

    for page in ("/dashboard/login", "/api/v1/jobs", "/docs"):
        answer = create_app().test_client().get(page)
        assert answer.headers.get("Strict-Transport-Security") == demanded, page


@pytest.mark.parametrize("secure", [False, True])
def test_the_sessions_cookie_is_for_this_site_alone_and_for_https_where_that_is_set(
    api_key: str, secure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_SECURE_COOKIES", str(secure).lower())
    forget_settings()
    browser = create_app().test_client()

    answer = browser.get("/dashboard/login", base_url="https://atelier.example.com")

    cookie = answer.headers["Set-Cookie"]
    assert ("Secure" in cookie) is secure
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


NAMES = ["evil.html", "evil.svg", "evil.xhtml", "evil.js"]
NAMES += ['a";x=".html', "数据 集.jsonl", "../../etc/passwd", "a\tb"]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_its_name_an_uploaded_page_is_a_download_that_never_runs(
    api: Api, name: str
) -> None:
    file = ok(api.upload(EVIL, name))

    answer = api.get(f"/v1/files/{file['id']}/content")

    assert answer.data == EVIL
    assert answer.headers["Content-Type"] == "application/octet-stream"
    kind, told = parse_options_header(answer.headers["Content-Disposition"])
    assert (kind, told["filename"]) == ("attachment", file["filename"])
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "evil.example.com",
    "X-Forwarded-Proto": "https",
}


class TestBehindAProxy:
    """What a client says in forwarded headers counts only if as many proxies stand in front."""

    def test_forged_headers_change_neither_the_counted_address_nor_redirects_nor_cookies(
        self, installation: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ATELIER_ADDRESS_REQUESTS", "3")
        forget_settings()
        browser = create_app().test_client()

        login = browser.get("/dashboard/login", headers=FORGED)
        page = browser.get("/dashboard/jobs", headers=FORGED)
        others = [{"X-Forwarded-For": f"203.0.113.{last}"} for last in range(4)]
        codes = [browser.get("/openapi.json", headers=other).status_code for other in others]

        assert "Secure" not in login.headers["Set-Cookie"]
        assert "evil" not in page.headers["Location"]
        assert codes == [200, 429, 429, 429]

    def test_forged_headers_do_not_change_the_address_of_this_site(self, app: Flask) -> None:
        app.add_url_rule("/site", "site", auth.public(lambda: request.host_url))

        told = app.test_client().get("/site", headers=FORGED).text

        assert told == "http://localhost/"

    def test_behind_as_many_proxies_as_are_set_only_what_the_last_ones_say_counts(
        self, installation: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ATELIER_TRUSTED_PROXIES", "1")
        monkeypatch.setenv("ATELIER_ADDRESS_REQUESTS", "2")
        forget_settings()
        browser = create_app().test_client()

        def asks(forwarded_for: str) -> int:
            headers = {"X-Forwarded-For": forwarded_for}
            return browser.get("/openapi.json", headers=headers).status_code

        assert [asks("192.0.2.1"), asks("192.0.2.2"), asks("192.0.2.1")] == [200] * 3
        # A client that writes addresses of its own in front is still counted as itself.
        assert [asks(f"198.51.100.{last}, 192.0.2.1") for last in range(2)] == [429] * 2

    def test_forms_of_the_dashboard_work_over_https_and_from_no_other_site(
        self, api_key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ATELIER_SECURE_COOKIES", "true")
        forget_settings()
        app = create_app()
        site = "https://atelier.example.com"
        browser = signed_in(app, "acme", site)
        page = browser.get("/dashboard/review", base_url=site)
        assert page.headers["Referrer-Policy"] == "same-origin"
        form = {"csrf_token": token_of(page.text)}

        def undo(referrer: str) -> int:
            headers = {"Referer": referrer}
            answer = browser.post(
                "/dashboard/review/undo", data=form, headers=headers, base_url=site
            )
            return answer.status_code

        assert undo(f"{site}/dashboard/review") == 302
        assert undo("https://evil.example.com/") == 400

"""The second factor: shown at sign-in, set up with an authenticator app, removed."""

import logging

import segno
from flask import Blueprint, redirect, render_template, request, url_for
from flask_security import current_user
from werkzeug.wrappers import Response as AnyResponse

from api.dashboard.own_account import check_password, done
from api.dashboard.sign_in import keep
from shared.db import transaction
from shared.errors import Conflict, Invalid
from shared.services import second_factors, sign_ins

log = logging.getLogger("api.sign_in")

_PAGES = "/dashboard/"
_PICTURE_SCALE = 4


def add_to(pages: Blueprint) -> None:
    both = ["GET", "POST"]
    pages.add_url_rule("/second-factor", "second_factor", show, methods=both)
    pages.add_url_rule("/account/second-factor", "set_up_second_factor", set_up, methods=both)
    removal = "/account/second-factor/remove"
    pages.add_url_rule(removal, "remove_second_factor", remove, methods=both)


def is_missing() -> bool:
    """Whether who has signed in by the password has yet to show the second factor."""
    return bool(current_user.second_factor) and current_user.sign_in.second_factor_at is None


def show() -> AnyResponse | str:
    fault = None
    if not is_missing():
        return redirect(_next())
    if request.method == "POST":
        try:
            _show(request.form.get("code", ""))
            return redirect(_next())
        except Invalid as error:
            log.warning("second factor refused from %s", request.remote_addr)
            fault = error.message
    return render_template("dashboard/second_factor.html", fault=fault, next=_next())


def _next() -> str:
    """Where the person wanted to go, if that is a page of ours."""
    wanted = request.args.get("next", "")
    return wanted if wanted.startswith(_PAGES) else url_for("pages.overview")


def _show(code: str) -> None:
    with transaction() as session:
        kind = second_factors.show(session, current_user.id, current_user.second_factor, code)
        token = sign_ins.renew(session, current_user.sign_in.id, second_factor=True)
    keep(token)
    log.info("second factor shown (%s) from %s", kind, request.remote_addr)


def set_up() -> AnyResponse | str:
    fault = None
    if current_user.second_factor:
        return redirect(url_for("pages.account"))
    if request.method == "POST":
        try:
            return render_template("dashboard/recovery_codes.html", codes=_set_up(request.form))
        except (Invalid, Conflict) as error:
            fault = error.message
    here = current_user.sign_in.id
    with transaction() as session:
        secret = sign_ins.offer(session, here, second_factors.new_secret())
    address = second_factors.address(secret, current_user.email)
    picture = segno.make(address, error="m").svg_data_uri(scale=_PICTURE_SCALE, light="white")
    return render_template(
        "dashboard/set_up_second_factor.html", fault=fault, secret=secret, picture=picture
    )


def _set_up(form: dict[str, str]) -> list[str]:
    """Set up what a form asks for; gives the recovery codes. Raises Invalid saying why not."""
    check_password(form.get("password", ""))
    here, secret = current_user.sign_in.id, current_user.sign_in.offered_secret
    if secret is None:
        raise Invalid("Nothing was offered to your app yet. Have it read this.", param="code")
    with transaction() as session:
        codes = second_factors.set_up(session, current_user.id, secret, form.get("code", ""))
        sign_ins.end_all(session, current_user.id, but=here)
        token = sign_ins.renew(session, here, second_factor=True)
    keep(token)
    log.info("set up a second factor from %s", request.remote_addr)
    return codes


def remove() -> AnyResponse | str:
    fault = None
    if not current_user.second_factor:
        return redirect(url_for("pages.account"))
    if request.method == "POST":
        try:
            check_password(request.form.get("password", ""))
        except Invalid as error:
            fault = error.message
        else:
            return _remove()
    return render_template("dashboard/remove_second_factor.html", fault=fault)


def _remove() -> AnyResponse:
    with transaction() as session:
        second_factors.remove(session, current_user.id)
    log.info("removed the second factor from %s", request.remote_addr)
    return done("second-factor")

"""A person's own account: the password, and where they are signed in."""

import logging

from flask import Blueprint, redirect, render_template, request, url_for
from flask_security import current_user
from werkzeug.wrappers import Response as AnyResponse

from api.dashboard import passwords
from api.dashboard.sign_in import keep
from shared.db import reading, transaction
from shared.errors import Invalid
from shared.services import sign_ins, users

log = logging.getLogger("api.sign_in")

_DONE = {
    "password": "Your password was changed, and you are signed out everywhere else.",
    "ended": "That session was ended.",
    "others": "You are signed out everywhere else.",
    "second-factor": "Your second factor was removed.",
}


def add_to(pages: Blueprint) -> None:
    pages.add_url_rule("/account", "account", show)
    pages.add_url_rule("/account/password", "password", change, methods=["GET", "POST"])
    pages.add_url_rule("/sign-ins/end-others", "end_others", end_others, methods=["POST"])
    pages.add_url_rule("/sign-ins/<id_>/end", "end_sign_in", end, methods=["POST"])


def show() -> str:
    with reading() as session:
        found = sign_ins.of_user(session, current_user.id)
    return render_template(
        "dashboard/account.html",
        sign_ins=found,
        most=sign_ins.MOST,
        done=_DONE.get(request.args.get("done", "")),
    )


def done(what: str) -> AnyResponse:
    """Back to the account, which says what was done."""
    return redirect(url_for("pages.account", done=what))


def change() -> AnyResponse | str:
    fault = None
    if request.method == "POST":
        try:
            _change(request.form)
            return done("password")
        except Invalid as error:
            fault = error.message
    return render_template("dashboard/password.html", fault=fault, least=passwords.LEAST_CHARACTERS)


def _change(form: dict[str, str]) -> None:
    """Set the password that a form asks for. Raises Invalid saying why not."""
    check_password(form.get("old", ""))
    new = form.get("new", "")
    if new != form.get("again", ""):
        raise Invalid("The new password was not written alike both times.", param="again")
    if new == form["old"]:
        raise Invalid("The new password is the old one.", param="new")
    passwords.check(new, current_user.email)
    hash_, here = passwords.hashed(new), current_user.sign_in.id
    with transaction() as session:
        users.set_password(session, current_user.id, hash_, must_change=False, but=here)
        token = sign_ins.renew(session, here)
    keep(token)
    log.info("changed the password from %s", request.remote_addr)


def check_password(given: str) -> None:
    """Raises Invalid unless it is the person's own."""
    if not current_user.verify_and_update_password(passwords.normal(given)):
        log.warning("wrong password of who is signed in, from %s", request.remote_addr)
        raise Invalid("The present password is wrong.", param="old")


def end(id_: str) -> AnyResponse:
    with transaction() as session:
        sign_ins.end(session, current_user.id, id_)
    log.info("ended the session %s from %s", id_, request.remote_addr)
    return done("ended")


def end_others() -> AnyResponse:
    with transaction() as session:
        sign_ins.end_all(session, current_user.id, but=current_user.sign_in.id)
    log.info("ended all other sessions from %s", request.remote_addr)
    return done("others")

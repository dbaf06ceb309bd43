"""API keys: a tenant's own, made by whoever holds the scope `admin`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api.auth import caller, needs
from api.creates import takes_no_key
from api.pagination import KeyId, ListAnswer, PeriodQuery, answer_list
from api.requests import require_json
from api.times import LAST_SECOND, seconds, seconds_or_none
from shared.db import reading, transaction
from shared.errors import Invalid
from shared.services import tenants
from shared.states import Scope
from shared.tables.tenant import Key

blueprint = APIBlueprint(
    "keys",
    __name__,
    url_prefix="/api/v1/keys",
    abp_tags=[Tag(name="keys", description="Who may call this API, and for what.")],
    abp_security=[{"key": []}],
)


_A_DAY_S = 86_400
_SHOWN_ONCE = "a secret is not kept to be shown again; revoke a key that you did not receive"
LARGEST = 2**63 - 1
"""Largest number that can be stored."""


class KeyBody(BaseModel):
    """A key to make."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"name": "the shop", "scopes": ["generate", "read"]},
            ]
        },
    )

    name: str = Field(min_length=1, max_length=100)
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(min_length=1)
    expires_at: int | None = Field(
        None,
        ge=0,
        le=LAST_SECOND,
        description="When it ends, in seconds since 1970; absent: never.",
    )

    max_compute_seconds: int | None = Field(
        None,
        ge=1,
        le=LARGEST,
        description="Budget of each calendar month (UTC) for what it asks for; absent: none of "
        "its own.",
    )

    def expiry(self) -> datetime | None:
        """Raises Invalid for a moment that has passed."""
        if self.expires_at is None:
            return None
        moment = datetime.fromtimestamp(self.expires_at, UTC)
        if moment <= datetime.now(UTC):
            raise Invalid("expires_at: this moment has passed", param="expires_at")
        return moment


class RotateBody(BaseModel):
    """How to pass from one key to the next."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"overlap_seconds": 3600}]}
    )

    overlap_seconds: int = Field(
        _A_DAY_S,
        ge=0,
        le=7 * _A_DAY_S,
        description="How long the old key is still good beside the new one.",
    )


class KeyAnswer(BaseModel):
    """A key, without its secret."""

    id: str
    object: Literal["key"] = "key"
    name: str
    hint: str = Field(description="Its first characters.")
    scopes: list[str]
    created_at: int
    max_compute_seconds: int | None
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None


class NewKeyAnswer(KeyAnswer):
    """A key just made: its secret is shown this once."""

    key: str


class KeyPath(BaseModel):
    """Which key."""

    id: str


def show_key(key: Key) -> KeyAnswer:
    """A key as its answer."""
    return KeyAnswer(
        id=key.id,
        name=key.name,
        hint=key.hint,
        scopes=key.scopes,
        created_at=seconds(key.created_at),
        max_compute_seconds=key.max_compute_seconds,
        expires_at=seconds_or_none(key.expires_at),
        last_used_at=seconds_or_none(key.last_used_at),
        revoked_at=seconds_or_none(key.revoked_at),
    )


@blueprint.post("", responses={201: NewKeyAnswer}, summary="Make a key")
@needs(Scope.ADMIN)
@takes_no_key(_SHOWN_ONCE)
def create_key(body: KeyBody) -> Response:
    require_json()
    with transaction() as session:
        made = tenants.add_key(
            session,
            caller().tenant_id,
            body.name,
            body.scopes,
            body.expiry(),
            body.max_compute_seconds,
        )
        return _show_once(session, *made)


@blueprint.post(
    "/<string:id>/rotate",
    responses={201: NewKeyAnswer},
    summary="Make a key in the place of another, which is good for a while yet",
)
@needs(Scope.ADMIN)
@takes_no_key(_SHOWN_ONCE)
def rotate_key(path: KeyPath, body: RotateBody) -> Response:
    require_json()
    overlap = timedelta(seconds=body.overlap_seconds)
    with transaction() as session:
        made = tenants.rotate_key(session, caller().tenant_id, path.id, overlap)
        return _show_once(session, *made)


def _show_once(session: Session, key: Key, secret: str) -> Response:
    session.refresh(key)
    shown = NewKeyAnswer(**show_key(key).model_dump(), key=secret)
    response = jsonify(shown.model_dump(mode="json"))
    response.status_code = 201
    return response


class KeysQuery(PeriodQuery[KeyId]):
    """Which keys."""

    in_use: bool | None = Field(
        None, description="Only those that are good, or only those revoked or expired."
    )


@blueprint.get("", responses={200: ListAnswer[KeyAnswer]}, summary="List keys")
@needs(Scope.ADMIN)
def list_keys(query: KeysQuery) -> Response:
    only = tenants.KeyFilter(query.in_use, query.period())
    with reading() as session:
        found = tenants.list_keys(session, caller().tenant_id, query.cursor(), only)
        return answer_list(found, show_key)


@blueprint.delete("/<string:id>", responses={204: None}, summary="Revoke a key at once")
@needs(Scope.ADMIN)
def revoke_key(path: KeyPath) -> Response:
    with transaction() as session:
        tenants.revoke_key(session, caller().tenant_id, path.id)
    return Response(status=204)

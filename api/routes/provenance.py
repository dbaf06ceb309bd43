"""Provenance: whether a file was made here, and how."""

from typing import IO, Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from api.auth import caller, needs
from api.requests import SentFile
from api.routes.outputs import OutputAnswer, show_output
from shared.db import reading
from shared.services import outputs
from shared.settings import settings
from shared.states import Scope
from shared.storage import CHUNK_BYTES, HashingReader

blueprint = APIBlueprint(
    "provenance",
    __name__,
    url_prefix="/api/v1/provenance",
    abp_tags=[Tag(name="provenance", description="Where a file comes from.")],
    abp_security=[{"key": []}],
)


class VerificationForm(BaseModel):
    """A file of unknown origin."""

    model_config = ConfigDict(
        extra="forbid",
        arbitrary_types_allowed=True,
        json_schema_extra={"examples": [{"file": "the bytes of the file"}]},
    )

    file: SentFile


class VerificationAnswer(BaseModel):
    """What is known of a file."""

    object: Literal["provenance.verification"] = "provenance.verification"
    sha256: str = Field(description="Of the file that was sent.")
    match: Literal["exact"] | None = Field(
        description="`exact`: an output of this tenant has these bytes. Null: none has, or its "
        "record was deleted; a file that was changed since, be it only encoded anew, is not found."
    )
    output: OutputAnswer | None = Field(
        description="The first output with these bytes: its model, weights, seed, parameters, and "
        "when it was made."
    )


@blueprint.post(
    "/verify", responses={200: VerificationAnswer}, summary="Find out whether a file was made here"
)
@needs(Scope.READ)
def verify_provenance(form: VerificationForm) -> Response:
    sha256 = _hash(form.file.stream)
    with reading() as session:
        output = outputs.with_bytes(session, caller().tenant_id, sha256)
        if output is None:
            answer = VerificationAnswer(sha256=sha256, match=None, output=None)
        else:
            item = outputs.items_of(session, [output])[output.item_id]
            shown = show_output(output, item)
            answer = VerificationAnswer(sha256=sha256, match="exact", output=shown)
    return jsonify(answer.model_dump(mode="json"))


def _hash(sent: IO[bytes]) -> str:
    reader = HashingReader(sent, settings().file_limit)
    while reader.read(CHUNK_BYTES):
        pass
    return reader.sha256

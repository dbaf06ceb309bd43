"""`/openapi.json`, generated from the code, and `/docs`, a page to read and try it."""

from pathlib import Path

import flask_openapi_swagger
from flask import Blueprint, jsonify, render_template
from flask_openapi import OpenAPI
from werkzeug.wrappers import Response as AnyResponse

from api import auth, description

_SWAGGER = Path(flask_openapi_swagger.__file__).parent / "templates" / "swagger"


def add_documentation(app: OpenAPI) -> None:
    """Add both. The page is our own, because the package's holds a script, which no page may."""

    description.complete(app)

    def specification() -> AnyResponse:
        return jsonify(description.description(app))

    def docs() -> str:
        return render_template("docs.html")

    app.add_url_rule("/openapi.json", "openapi", auth.public(specification))
    app.add_url_rule("/docs", "docs", auth.public(docs))
    files = Blueprint("swagger", __name__, static_folder=_SWAGGER, static_url_path="/docs/swagger")
    app.register_blueprint(files)
    auth.PUBLIC_PREFIXES.append("/docs/")

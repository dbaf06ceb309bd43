"""What a request cannot do without: a bare Flask application that commits one INSERT. Served for
`tests.benchmarks.requests` by gunicorn, as the API is.
"""

import os

from flask import Flask, Response, jsonify, request
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["BARE_DATABASE_URL"], pool_size=8, pool_use_lifo=True)


@app.post("/bare")
def insert() -> Response:
    with engine.begin() as connection:
        body = request.get_data(as_text=True)
        connection.execute(text("INSERT INTO bare (body) VALUES (:body)"), {"body": body})
    return jsonify({"object": "bare"})

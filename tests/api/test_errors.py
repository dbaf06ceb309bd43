"""Errors: one shape on every status, and for every bad input the field at fault."""

from typing import Any

import pytest

from tests.api.client import JOBS, Api, ok, refused
from tests.settings import forget_settings

ITEM = {"params": {}}
GENERATION = {"kind": "generation", "model": "stand-in", "items": [ITEM]}
TRAINING = {"kind": "training", "model": "new", "family": "causal_lm", "dataset": "none"}


def items(*params: Any, **fields: Any) -> dict[str, Any]:
    return {**GENERATION, "items": [{"params": each, **fields} for each in params]}


BAD_JOBS = {
    "an unknown field": ({**GENERATION, "modle": "x"}, 400, "modle", "unknown_field"),
    "no kind": ({"model": "x"}, 400, "kind", "invalid_value"),
    "an unknown kind": ({**GENERATION, "kind": "guess"}, 400, "kind", "invalid_value"),
    "no model": ({"kind": "generation", "items": [ITEM]}, 400, "model", "invalid_value"),
    "a model of a wrong type": ({**GENERATION, "model": 3}, 400, "model", "invalid_value"),
    "an unknown model": ({**GENERATION, "model": "x"}, 404, "model", "model_not_found"),
    "an unknown version": ({**GENERATION, "model": "stand-in@9"}, 404, "model", "model_not_found"),
    "a version that is no number": (
        {**GENERATION, "model": "stand-in@new"},
        400,
        "model",
        "invalid_value",
    ),
    "items that are no list": ({**GENERATION, "items": "a"}, 400, "items", "invalid_value"),
    "no items": ({**GENERATION, "items": []}, 400, "items", "invalid_value"),
    "neither items nor a file": (
        {"kind": "generation", "model": "stand-in"},
        400,
        "items",
        "invalid_value",
    ),
    "both items and a file": (
        {**GENERATION, "input_file": "file-x"},
        400,
        "items",
        "invalid_value",
    ),
    "an unknown file": (
        {"kind": "generation", "model": "stand-in", "input_file": "file-x"},
        404,
        "input_file",
        "not_found",
    ),
    "an item without params": (
        {**GENERATION, "items": [ITEM, {}]},
        400,
        "items[1].params",
        "invalid_value",
    ),
    "an unknown field of an item": (
        {**GENERATION, "items": [{"params": {}, "id": 1}]},
        400,
        "items[0].id",
        "unknown_field",
    ),
    "an unknown parameter": (items({}, {"sedd": 1}), 400, "items[1].params.sedd", "unknown_field"),
    "a parameter out of range": (
        items({"seconds": -1}),
        400,
        "items[0].params.seconds",
        "invalid_value",
    ),
    "a parameter of a wrong type": (items({"n": "x"}), 400, "items[0].params.n", "invalid_value"),
    "a seed too large": (items({"seed": 2**32}), 400, "items[0].params.seed", "invalid_value"),
    "a custom_id twice": (
        items({}, {}, custom_id="a"),
        400,
        "items[1].custom_id",
        "invalid_value",
    ),
    "a custom_id too long": (
        items({}, custom_id="a" * 256),
        400,
        "items[0].custom_id",
        "invalid_value",
    ),
    "a priority out of range": ({**GENERATION, "priority": 101}, 400, "priority", "invalid_value"),
    "a priority with a fraction": (
        {**GENERATION, "priority": 0.5},
        400,
        "priority",
        "invalid_value",
    ),
    "metadata that is no text": (
        {**GENERATION, "metadata": {"a": 1}},
        400,
        "metadata.a",
        "invalid_value",
    ),
    "too much metadata": (
        {**GENERATION, "metadata": {str(n): "" for n in range(17)}},
        400,
        "metadata",
        "invalid_value",
    ),
    "a family for a generation": (
        {**GENERATION, "family": "causal_lm"},
        400,
        "family",
        "invalid_value",
    ),
    "params for a generation": ({**GENERATION, "params": {}}, 400, "params", "invalid_value"),
    "items for a training": ({**TRAINING, "items": [ITEM]}, 400, "items", "invalid_value"),
    "an unknown family": ({**TRAINING, "family": "x"}, 400, "family", "invalid_value"),
    "a family that cannot be trained": (
        {**TRAINING, "family": "stand_in"},
        400,
        "family",
        "invalid_value",
    ),
    "a training without a data set": (
        {"kind": "training", "model": "new", "family": "causal_lm"},
        400,
        "dataset",
        "invalid_value",
    ),
    "an unknown data set": (TRAINING, 404, "dataset", "not_found"),
    "an unknown training parameter": (
        {**TRAINING, "params": {"max_step": 1}},
        400,
        "params.max_step",
        "unknown_field",
    ),
    "a training parameter out of range": (
        {**TRAINING, "params": {"max_seconds": 0}},
        400,
        "params.max_seconds",
        "invalid_value",
    ),
    "an evaluation without a data set": (
        {"kind": "evaluation", "model": "stand-in"},
        400,
        "dataset",
        "invalid_value",
    ),
    "a character that cannot be stored": (
        {**GENERATION, "metadata": {"a": "\x00"}},
        400,
        None,
        "invalid_value",
    ),
    "such a character in a custom_id": (
        items({}, custom_id="\x00"),
        400,
        "items[0].custom_id",
        "invalid_value",
    ),
    "half a surrogate pair": (
        items({}, custom_id="\ud800"),
        400,
        "items[0].custom_id",
        "invalid_value",
    ),
}


@pytest.mark.usefixtures("stand_in")
def test_every_bad_job_is_refused_naming_the_field_and_nothing_is_created(api: Api) -> None:
    answers = {}
    for what, (body, *_) in BAD_JOBS.items():
        response = api.post(JOBS, body)
        error = refused(response, response.status_code)
        answers[what] = (response.status_code, error["param"], error["code"])
        assert error["param"] is None or error["param"] in error["message"], what

    assert answers == {what: tuple(expected) for what, (_, *expected) in BAD_JOBS.items()}
    assert ok(api.get(JOBS))["data"] == []


BAD_BODIES = {
    "not JSON": (b"{", "application/json", 400),
    "nothing": (b"", "application/json", 400),
    "a list": (b"[]", "application/json", 400),
    "a number": (b"3", "application/json", 400),
    "not UTF-8": (b'{"a": "\xff"}', "application/json", 400),
    "a form": (b"kind=generation", "application/x-www-form-urlencoded", 415),
    "a number that JSON lacks": (b'{"a": NaN}', "application/json", 400),
    "nested too deep": (b"[" * 100_000, "application/json", 400),
}


@pytest.mark.parametrize("what", BAD_BODIES)
def test_a_body_that_is_not_a_json_object_is_refused(api: Api, what: str) -> None:
    content, media_type, status = BAD_BODIES[what]

    error = refused(api.request("POST", JOBS, data=content, content_type=media_type), status)

    assert "JSON" in error["message"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"kind": "generation",}', "column 23: expecting property name"),
        (b'{\n  "kind": "generation"\n  "items": []\n}', "line 3, column 3: expecting ',' delim"),
        (b"", "it is empty"),
        (b'{"a": "\xff"}', "byte 8 is not UTF-8; save it as UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "byte 1 is not UTF-8; save it as UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "UTF-16"),
        (b'{"a": "\xed\xa0\x80"}', "byte 8 is not UTF-8"),
        (b'{"a": ' + b"1" * 5000 + b"}", "a number has too many digits"),
    ],
)
def test_a_body_that_is_not_json_is_refused_with_the_place_of_its_fault(
    api: Api, content: bytes, said: str
) -> None:
    response = api.request("POST", JOBS, data=content, content_type="application/json")

    assert said in refused(response, 400)["message"]


@pytest.mark.parametrize("path", [JOBS, "/v1/completions", "/v1/batches"])
def test_a_field_that_stands_twice_in_one_object_of_a_body_is_refused_by_name(
    api: Api, path: str
) -> None:
    body = b'{"model": "a", "metadata": {"of": 1, "of": 2}}'

    error = refused(api.request("POST", path, data=body, content_type="application/json"), 400)

    assert error["param"] == "of"
    assert "stands twice" in error["message"]


def test_a_byte_order_mark_before_a_body_is_passed_over(api: Api) -> None:
    body = b"\xef\xbb\xbf" + b'{"name": "a", "scopes": ["read"]}'

    response = api.request("POST", "/api/v1/keys", data=body, content_type="application/json")

    assert response.status_code < 300, response.text


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"order": "up"}, "order"),
        ({"state": "lost"}, "state"),
        ({"kind": "guess"}, "kind"),
        ({"page": 2}, "page"),
    ],
)
def test_a_bad_query_is_refused_naming_the_field(
    api: Api, query: dict[str, Any], param: str
) -> None:
    assert refused(api.get(JOBS, **query), 400)["param"] == param


@pytest.mark.parametrize("path", [f"{JOBS}?after=%00", f"{JOBS}/%00", "/v1/models/%00"])
def test_an_id_with_a_nul_is_no_fault_of_ours(api: Api, path: str) -> None:
    response = api.request("GET", path)

    assert response.status_code in {400, 404}, response.text


def test_a_body_over_the_limit_is_413(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_BODY_LIMIT", "1000")
    forget_settings()

    error = refused(api.post(JOBS, {**GENERATION, "metadata": {"a": "x" * 1000}}), 413)

    assert error["code"] == "too_large"
    assert "1000 bytes" in error["message"]


def test_an_unknown_address_and_a_wrong_method_are_errors_of_the_same_shape(api: Api) -> None:
    assert refused(api.get("/api/v1/nothing"), 404)["code"] == "unknown_url"
    assert refused(api.delete(JOBS), 405)["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1//files"), ("GET", "/api//v1/jobs"), ("OPTIONS", JOBS)]
)
def test_an_answer_without_a_body_is_no_page(api: Api, method: str, path: str) -> None:
    response = api.request(method, path)

    assert response.status_code in {200, 308}
    assert response.data == b""
    assert "Content-Type" not in response.headers
    assert response.headers["x-request-id"]


@pytest.mark.parametrize("host", ["a b", "a<b>", "a:99999", ""])
def test_a_host_that_is_none_begins_no_address(api: Api, host: str) -> None:
    refused(api.request("GET", "/openapi.json", headers={"Host": host}), 400)


def test_what_http_refuses_is_said_for_programs_and_not_for_people_with_a_browser(api: Api) -> None:
    told = [
        refused(api.get("/api/v1/nothing"), 404),
        refused(api.delete(JOBS), 405),
        refused(api.request("POST", JOBS, data=b"a", content_type="text/plain"), 415),
    ]

    assert [error["message"] for error in told] == [
        "There is no such address; /docs lists those of the API.",
        "DELETE is not a method of this address, which takes GET, HEAD, OPTIONS, POST.",
        "The body must be JSON: send it with the header `Content-Type: application/json`.",
    ]


def test_every_answer_has_a_request_id_of_its_own(api: Api) -> None:
    answers = [api.get(JOBS), api.get(JOBS), api.get("/nothing"), api.with_key(None).get(JOBS)]

    ids = [answer.headers["x-request-id"] for answer in answers]

    assert len(set(ids)) == 4
    assert all(each.startswith("req_") for each in ids)


def test_without_a_database_the_process_lives_but_is_not_ready(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setenv("ATELIER_API_DATABASE_URL", "postgresql://nobody:at@127.0.0.1:1/nothing")
        forget_settings()
        ok(api.get("/api/v1/health/live"))
        response = api.get("/api/v1/health/ready")
        assert refused(response, 503)["code"] == "unavailable"
        assert int(response.headers["Retry-After"]) > 0
    forget_settings()
    ok(api.get("/api/v1/health/ready"))

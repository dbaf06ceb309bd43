"""Reviews: verdicts on outputs by keys, listed beside those that people give in the dashboard."""

from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import pytest
from flask import Flask

from api.dashboard.accounts import add_user
from shared.db import transaction
from shared.services import reviews, users
from shared.states import Decision, Role, Scope
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, new_key, ok, refused, walk
from tests.ledger import execute

OUTPUTS = "/api/v1/outputs"
REVIEWS = "/api/v1/reviews"
WAITING = f"{REVIEWS}/waiting"

pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.fixture
def output(api: Api) -> str:
    """The id of an output that waits."""
    return made(api)[0]


def made(api: Api, count: int = 1, **fields: Any) -> list[str]:
    """The ids of new outputs, oldest first."""
    job = api.run({"n": count}, **fields)
    listed = ok(api.get(f"{JOBS}/{job['id']}/outputs", order="asc"))["data"]
    return [each["id"] for each in listed]


def state(api: Api, output: str) -> str:
    return str(ok(api.get(f"{OUTPUTS}/{output}"))["state"])


def give(api: Api, output: str, decision: str = "approve", **more: Any) -> dict[str, Any]:
    return ok(api.post(REVIEWS, {"output": output, "decision": decision, **more}), 201)


def give_by_hand(tenant: Tenant, output: str) -> str:
    """What the dashboard does for a person who approves; gives the person's id."""
    add_user("rita@example.org", tenant.name, Role.REVIEWER, lasting=True)
    with transaction() as session:
        user = users.named(session, "rita@example.org")
        by = reviews.Reviewer(tenant.id, user_id=user.id)
        reviews.judge(session, by, output, reviews.NewVerdict(Decision.APPROVE))
        return user.id


def ids(api: Api, path: str, **query: Any) -> list[str]:
    """The ids of a whole list, in pages of two."""
    pages = walk(lambda **page: api.get(path, limit=2, **query, **page))
    return list(chain(*pages))


def test_a_verdict_moves_the_output_and_tells_which_key_gave_it(
    api: Api, tenant: Tenant, output: str
) -> None:
    (key,) = ok(api.get("/api/v1/keys"))["data"]

    review = give(api, output, "reject", rating=2, tags=["nonsense"], note="says nothing")

    assert state(api, output) == "rejected"
    assert (review["object"], review["output"], review["decision"]) == ("review", output, "reject")
    assert (review["rating"], review["tags"]) == (2, ["nonsense"])
    assert (review["note"], review["key"], review["user"]) == ("says nothing", key["id"], None)
    assert ok(api.get(f"{REVIEWS}/{review['id']}")) == review


def test_a_persons_verdict_is_told_from_a_keys(api: Api, tenant: Tenant, output: str) -> None:
    person = give_by_hand(tenant, output)

    (review,) = ok(api.get(REVIEWS))["data"]

    assert (review["user"], review["key"]) == (person, None)


def test_an_output_that_was_judged_takes_no_second_verdict(api: Api, output: str) -> None:
    give(api, output)

    error = refused(api.post(REVIEWS, {"output": output, "decision": "reject"}), 409)

    assert (error["code"], error["param"]) == ("conflict", "output")
    assert "approved" in error["message"]
    assert state(api, output) == "approved"
    assert len(ids(api, REVIEWS)) == 1


def test_of_many_verdicts_at_once_one_counts(app: Flask, api: Api, output: str) -> None:
    def decide(decision: str) -> int:
        client = Api(app.test_client(), api.key)
        return client.post(REVIEWS, {"output": output, "decision": decision}).status_code

    with ThreadPoolExecutor(6) as pool:
        given = list(pool.map(decide, ["approve", "reject"] * 6))
        (review,) = ok(api.get(REVIEWS))["data"]
        assert (given.count(201), given.count(409)) == (1, 11)
        assert review["decision"] in {"approve", "reject"}

        taken_back = list(pool.map(decide, ["withdraw"] * 12))
        assert (taken_back.count(201), taken_back.count(409)) == (1, 11)
    assert state(api, output) == "released"
    assert len(ids(api, REVIEWS)) == 2


def test_a_key_takes_back_its_own_verdict_and_the_output_waits_again(api: Api, output: str) -> None:
    give(api, output)

    taken_back = give(api, output, "withdraw")

    assert taken_back["decision"] == "withdraw"
    assert state(api, output) == "released"
    refused(api.post(REVIEWS, {"output": output, "decision": "withdraw"}), 409)
    give(api, output, "reject")
    assert ids(api, REVIEWS, output=output, order="asc") == sorted(ids(api, REVIEWS))
    assert len(ids(api, REVIEWS)) == 3


def test_nobody_takes_back_what_another_has_decided(api: Api, tenant: Tenant, output: str) -> None:
    give_by_hand(tenant, output)
    other = api.with_key(new_key(tenant.id, [Scope.TRAIN]))
    withdrawal = {"output": output, "decision": "withdraw"}

    refused(api.post(REVIEWS, withdrawal), 409)
    (second,) = made(api)
    give(api, second)
    refused(other.post(REVIEWS, {**withdrawal, "output": second}), 409)

    assert (state(api, output), state(api, second)) == ("approved", "approved")


def test_vectors_are_nothing_to_judge(api: Api, output: str) -> None:
    execute(f"UPDATE outputs SET state = 'unreviewed' WHERE id = '{output}'")

    error = refused(api.post(REVIEWS, {"output": output, "decision": "approve"}), 409)

    assert "nothing" in error["message"]
    assert ids(api, WAITING) == []


def test_a_repeat_under_one_key_gives_one_verdict(api: Api, output: str) -> None:
    body = {"output": output, "decision": "approve"}

    first = ok(api.post(REVIEWS, body, idempotency_key="a"), 201)

    assert ok(api.post(REVIEWS, body, idempotency_key="a"), 201) == first
    assert ids(api, REVIEWS) == [first["id"]]


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"output": "output_x"}, 404, "output"),
        ({"decision": "maybe"}, 400, "decision"),
        ({"rating": 6}, 400, "rating"),
        ({"tags": ["ugly"]}, 400, "tags[0]"),
        ({"note": "x" * 2001}, 400, "note"),
        ({"verdict": "approve"}, 400, "verdict"),
        ({"decision": "withdraw", "rating": 3}, 400, "rating"),
    ],
)
def test_a_bad_verdict_is_refused_naming_the_field(
    api: Api, output: str, change: dict[str, Any], status: int, param: str
) -> None:
    error = refused(api.post(REVIEWS, {"output": output, "decision": "reject", **change}), status)

    assert error["param"] == param
    assert state(api, output) == "released"


def test_a_key_that_may_only_look_or_generate_gives_no_verdict(
    api: Api, tenant: Tenant, output: str
) -> None:
    client = api.with_key(new_key(tenant.id, [Scope.READ, Scope.GENERATE]))

    refused(client.post(REVIEWS, {"output": output, "decision": "approve"}), 403)

    assert state(client, output) == "released"


def test_what_waits_is_listed_oldest_first_until_it_is_judged(api: Api) -> None:
    first, second, third = made(api, 3)
    give(api, second)

    assert ids(api, WAITING) == [first, third]
    (row, _) = ok(api.get(WAITING))["data"]
    assert row == ok(api.get(f"{OUTPUTS}/{first}"))


def test_what_waits_is_filtered_by_model_and_job(api: Api) -> None:
    mine = made(api, 2)
    job = ok(api.get(f"{OUTPUTS}/{mine[0]}"))["job"]
    other = made(api)

    assert ids(api, WAITING, job=job) == mine
    assert ids(api, WAITING, model="stand-in@1") == mine + other
    assert ids(api, WAITING, model="stand-in@2") == []
    assert ids(api, WAITING, media_type="image/png") == []


def test_verdicts_are_filtered_and_paged(api: Api) -> None:
    outputs = made(api, 5)
    given = [give(api, each, "reject" if each == outputs[0] else "approve") for each in outputs]
    in_order = [review["id"] for review in given]
    moment = given[0]["created_at"]

    assert ids(api, REVIEWS) == in_order[::-1]
    assert ids(api, REVIEWS, decision="reject") == in_order[:1]
    assert ids(api, REVIEWS, output=outputs[3]) == in_order[3:4]
    assert ids(api, REVIEWS, model="stand-in", order="asc") == in_order
    assert ids(api, REVIEWS, model="stand-in@2") == []
    assert ids(api, REVIEWS, created_before=moment) == []
    assert ids(api, REVIEWS, created_after=moment, order="asc") == in_order


def test_another_tenants_verdicts_and_outputs_are_not_there(
    api: Api, stranger: Api, output: str
) -> None:
    review = give(api, output)

    assert ids(stranger, REVIEWS) == ids(stranger, WAITING) == []
    assert ids(stranger, REVIEWS, output=output) == []
    refused(stranger.get(f"{REVIEWS}/{review['id']}"), 404)
    refused(stranger.post(REVIEWS, {"output": output, "decision": "withdraw"}), 404)
    assert state(api, output) == "approved"

"""Whose items run next: shares by weight, priorities that age, limits, warm models."""

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from shared.db import transaction
from shared.services.ledger.claim import claim
from shared.services.ledger.commit import Committed, Done, commit
from shared.states import Lane
from shared.tables.tenant import Tenant
from tests.ledger import (
    OUTPUT,
    add_other_tenant,
    add_stand_in,
    assert_sound,
    execute,
    finish,
    submit,
    take,
)

pytestmark = pytest.mark.usefixtures("stand_in")


def items(count: int, **params: Any) -> list[dict[str, Any]]:
    return [params] * count


def served(claims: int, count: int = 4) -> Counter[str]:
    """How many items of each tenant so many claims take."""
    taken: Counter[str] = Counter()
    for _ in range(claims):
        found = take(count)
        taken.update(item.tenant_id for item in found.items)
        finish(found)
    return taken


def test_shares_follow_the_weights(tenant: Tenant) -> None:
    heavy = add_other_tenant("heavy", weight=3)
    submit(tenant.id, items(400))
    submit(heavy, items(400))

    shares = served(100)

    assert sum(shares.values()) == 400
    assert shares[heavy] == pytest.approx(300, rel=0.05)


def test_work_is_charged_by_its_cost(tenant: Tenant) -> None:
    costly = add_other_tenant("costly")
    submit(tenant.id, items(400))
    submit(costly, items(400, n=4))

    shares = served(100)

    assert shares[tenant.id] == pytest.approx(4 * shares[costly], rel=0.1)


def test_one_who_slept_gets_its_share_and_nothing_for_its_sleep(tenant: Tenant) -> None:
    other = add_other_tenant()
    submit(tenant.id, items(200))
    served(20)
    submit(other, items(200))

    shares = served(20)

    assert shares[other] == pytest.approx(40, abs=8)


def test_one_who_is_new_does_not_catch_up_with_all_that_another_had(tenant: Tenant) -> None:
    submit(tenant.id, items(200))
    served(50)
    other = add_other_tenant()
    submit(other, items(100))
    submit(tenant.id, items(100))

    shares = served(20)

    assert shares[tenant.id] == pytest.approx(40, abs=8)


def test_a_job_keeps_the_order_of_its_items(tenant: Tenant) -> None:
    submit(tenant.id, items(40))

    order = [item.seq for _ in range(10) for item in take(4).items]

    assert order == list(range(40))


def test_priority_overtakes_what_is_young_and_not_what_has_waited_long(tenant: Tenant) -> None:
    old = submit(tenant.id, items(1))
    execute("UPDATE queue SET rank = rank - 600")
    young = submit(tenant.id, items(1))
    urgent = submit(tenant.id, items(1), priority=5)

    assert [take(1).items[0].job_id for _ in range(3)] == [old.id, urgent.id, young.id]


def test_a_tenant_has_no_more_items_in_flight_than_its_limit(tenant: Tenant) -> None:
    limited = add_other_tenant("limited", max_running=3)
    submit(limited, items(10))

    first, second = take(16), take(16)

    assert (len(first.items), len(second.items)) == (3, 0)
    assert not second.more, "nobody is woken for what may not run"
    assert commit_all(first).hints == {Lane.TEXT}, "there is room again"
    assert len(take(16).items) == 3
    assert_sound()


def test_a_limit_holds_where_items_fill_the_batch_of_another(tenant: Tenant) -> None:
    limited = add_other_tenant("limited", max_running=2)
    submit(tenant.id, items(2))
    submit(limited, items(10))
    execute("UPDATE queue SET batch_key = 'the same'")

    found = take(16)

    assert Counter(item.tenant_id for item in found.items) == {tenant.id: 2, limited: 2}


def test_a_warm_model_goes_first_until_its_flow_is_far_ahead(tenant: Tenant) -> None:
    cold = add_other_tenant("cold")
    version = add_stand_in(tenant.id, "warm").id
    submit(tenant.id, items(400), model="warm")
    submit(cold, items(400))

    owners = []
    for _ in range(12):
        found = take(16, warm=[version])
        owners.append(found.items[0].tenant_id)
        finish(found)

    assert owners[:4] == [tenant.id] * 4
    assert owners.count(cold) >= 4, "the cold model is loaded after all"


def test_workers_in_parallel_take_different_items_and_none_waits(tenant: Tenant) -> None:
    submit(tenant.id, items(64))
    with transaction() as other:
        other.execute(text("SELECT FROM queue ORDER BY rank, item_id LIMIT 16 FOR UPDATE"))

        beside = take(16)

    assert [item.seq for item in beside.items] == list(range(16, 32))


@pytest.mark.parametrize(
    ("limit", "waits_in"),
    [(None, "moved_flows"), (3, "id = ANY(%(flows)s")],
    ids=["free", "limited"],
)
def test_a_claim_has_its_items_before_it_waits_for_a_flow(limit: int | None, waits_in: str) -> None:
    submit(add_other_tenant(max_running=limit), items(4))
    with transaction() as other, transaction() as session:
        other.execute(text("SELECT FROM flows FOR UPDATE"))
        session.execute(text("SET LOCAL lock_timeout = '200ms'"))
        with pytest.raises(OperationalError, match="lock timeout") as waiting:
            claim(session, Lane.TEXT, "worker", 16)
        session.rollback()

    assert waits_in in str(waiting.value.statement)


def commit_all(found: Any) -> Committed:
    with transaction() as session:
        return commit(session, found.token, [Done(item.id, [OUTPUT]) for item in found.items])

"""`/metrics`: how the ledger stands and what every process has counted, for Prometheus."""

from collections.abc import Iterator
from hmac import compare_digest

from flask import Response
from flask_openapi import APIBlueprint
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from api.auth import bearer, public
from shared.db import reading
from shared.errors import Forbidden, Unauthenticated
from shared.metrics import REGISTRY
from shared.services import metrics
from shared.settings import settings

blueprint = APIBlueprint("metrics", __name__, doc_ui=False)


@blueprint.get("/metrics")
@public
def get_metrics() -> Response:
    _check_token()
    registry = CollectorRegistry()
    with reading() as session:
        registry.register(_Standing(session))
        registry.register(_Counted(session))
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _check_token() -> None:
    """Whether the caller is the operator's: what is told is of all tenants together."""
    token = settings().metrics_token
    if token is None:
        raise Forbidden("Set ATELIER_METRICS_TOKEN, and send it as `Authorization: Bearer`.")
    if not compare_digest(bearer().encode(), token.get_secret_value().encode()):
        raise Unauthenticated("This is not the token of ATELIER_METRICS_TOKEN.")


class _Standing(Collector):
    """Gauges, looked up now."""

    def __init__(self, session: Session):
        self.session = session

    def collect(self) -> Iterator[Metric]:
        told = {
            "atelier_queued_items": "Items that wait.",
            "atelier_running_items": "Items that run.",
            "atelier_claimable_cost": "Work that may be claimed, in outputs.",
            "atelier_oldest_claimable_seconds": "How long the first item of a lane has waited.",
        }
        gauges = {
            name: GaugeMetricFamily(name, said, labels=["lane"]) for name, said in told.items()
        }
        for lane in metrics.lanes(self.session):
            values = (lane.queued, lane.running, lane.claimable_cost or 0.0, lane.oldest_s)
            for gauge, value in zip(gauges.values(), values, strict=True):
                gauge.add_metric([lane.lane], float(value))
        yield from gauges.values()
        workers = GaugeMetricFamily("atelier_workers", "Workers that live.", labels=["lane"])
        for name, count in metrics.workers_by_lane(self.session).items():
            workers.add_metric([name], count)
        yield workers
        yield GaugeMetricFamily(
            "atelier_pending_deliveries",
            "Webhook events that are still to be taken; no more than 10,000 are counted.",
            value=metrics.pending_deliveries(self.session),
        )


class _Counted(Collector):
    """What all processes have counted, under the names and help of `shared/metrics.py`."""

    def __init__(self, session: Session):
        self.session = session

    def collect(self) -> Iterator[Metric]:
        families = {
            family.name: Metric(family.name, family.documentation, family.type)
            for family in REGISTRY.collect()
        }
        for name, labels, value in metrics.counted(self.session):
            for suffix in ("_total", "_bucket", "_sum", "_count"):
                family = families.get(name.removesuffix(suffix))
                if name.endswith(suffix) and family is not None:
                    family.add_sample(name, labels, value)
        yield from (family for family in families.values() if family.samples)

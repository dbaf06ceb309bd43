"""The demo: the whole main job on one machine, over HTTP, from data to results that people can look
at.
"""

import os
import signal
import threading
import time
from pathlib import Path

import click
from sqlalchemy import select

from api.dashboard.accounts import make_access
from api.demo.client import Client, Json
from api.demo.material import PROMPTS, digits_archive, reference
from api.demo.results import write_continuations, write_grid
from api.installation import run
from shared.db import transaction
from shared.errors import AtelierError
from shared.services import tenants
from shared.states import Role, Scope
from shared.tables.tenant import Tenant

TENANT = "demo"
EMAIL = "demo@example.org"
DIGITS_SECONDS = 60
REFERENCE_SECONDS = 75
_LABELS = [str(label) for label in range(10)]


def show(folder: Path, *, stay: bool) -> int:
    """Run the demo; returns the exit code. `stay`: serve on until Ctrl-C."""
    outcome = [1]

    def begin(address: str) -> None:
        # Beside the watch over the processes, which goes on in the main thread.
        threading.Thread(target=lead, args=(address,), daemon=True).start()

    def lead(address: str) -> None:
        try:
            _Demo(address, folder).run()
            outcome[0] = 0
            if stay:
                click.echo("\nServing until Ctrl-C.")
                return
        except Exception as error:  # whatever it is, the main thread must not wait for ever
            told = error.message if isinstance(error, AtelierError) else repr(error)
            click.secho(f"\nThe demo did not get through: {told}", fg="red", err=True)
        os.kill(os.getpid(), signal.SIGTERM)

    click.echo("starting PostgreSQL, Valkey, the API and the workers")
    run(begin)
    return outcome[0]


class _Demo:
    """One run against an installation."""

    def __init__(self, address: str, folder: Path):
        self.address = address
        self.folder = folder
        self.began = time.monotonic()
        key, self.password = _make_access()
        self.client = Client(address, key)

    def run(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        digits = self._dataset("digits", "image", digits_archive(), "digits.zip", {"size": 16})
        topics = self._dataset("reference", "text", reference(), "reference.jsonl", {})
        self._train("conditional_gan", digits, "digits", DIGITS_SECONDS)
        self._train("causal_lm", topics, "reference", REFERENCE_SECONDS)
        images = self._generate("digits", [{"label": label, "n": 10} for label in _LABELS])
        texts = self._generate(
            "reference",
            [
                {"prompt": prompt, "max_tokens": 80, "temperature": 0.7, "seed": seed}
                for seed, prompt in enumerate(PROMPTS)
            ],
        )
        grid = write_grid(self.client, images, self.folder / "digits.png")
        continuations = write_continuations(self.client, texts, self.folder / "continuations.md")
        self._summary([grid, continuations])

    def _dataset(
        self, name: str, modality: str, content: bytes, filename: str, options: Json
    ) -> Json:
        """Upload a file and have a data set prepared from it."""
        file = self.client.upload(filename, content)
        body = {"name": name, "modality": modality, "files": [file], "options": options}
        dataset = self.client.post("/api/v1/datasets", body)
        with _Bar(f"prepare {name}") as bar:
            self.client.wait(dataset["job"], bar.show)
        dataset = self.client.get(f"/api/v1/datasets/{dataset['id']}")
        report = dataset["report"]
        click.echo(
            f"  {name}@{dataset['version']}: {report['examples']} examples, "
            f"{report['duplicates']} duplicates, {report['rejected_total']} rejected, "
            f"hash {dataset['hash'][:12]}"
        )
        return dataset

    def _train(self, family: str, dataset: Json, name: str, seconds: int) -> None:
        """Train a model, unless there is one of the very same data."""
        known = [each["name"] for each in self.client.all("/api/v1/models")]
        if name in known:
            card = self.client.get(f"/api/v1/models/{name}")["versions"][0]["card"]
            if card.get("dataset", {}).get("hash") == dataset["hash"]:
                click.echo(f"  {name} has been trained on these data before; it is used again")
                return
        job = self.client.post(
            "/api/v1/jobs",
            {
                "kind": "training",
                "family": family,
                "dataset": dataset["id"],
                "model": name,
                "params": {"max_seconds": seconds},
            },
        )
        with _Bar(f"train {name} ({family}, {seconds} s)") as bar:
            self.client.wait(job["id"], bar.show)

    def _generate(self, model: str, params: list[Json]) -> str:
        """Submit a batch and poll it to its end; returns the job's id."""
        items = [{"custom_id": f"{model}-{n}", "params": each} for n, each in enumerate(params)]
        job = self.client.post(
            "/api/v1/jobs", {"kind": "generation", "model": model, "items": items}
        )
        with _Bar(f"generate with {model}") as bar:
            job = self.client.wait(job["id"], bar.show)
        click.echo(f"  counts: {job['counts']}, {job['compute_seconds']} s of compute")
        return str(job["id"])

    def _summary(self, written: list[Path]) -> None:
        click.echo(f"\nDone in {time.monotonic() - self.began:.0f} s.")
        for path in written:
            click.echo(f"  {path}")
        for name in ("digits", "reference"):
            version = self.client.get(f"/api/v1/models/{name}")["versions"][0]
            card = version["card"]
            click.echo(f"\n{name}@{version['version']}: {card['steps']} steps")
            click.echo(f"  {'metric':<26}{'value':>10}{'floor':>10}  against (n)")
            for metric, measured in card["metrics"].items():
                click.echo(f"  {metric:<26}{_metric(measured)}")
        click.secho("\nDashboard", bold=True)
        click.echo(f"  {self.address}/dashboard/   sign in as {EMAIL} with {self.password}")


def _metric(measured: Json) -> str:
    floor = measured["floor"]
    against = f"{measured['against'] or ''} ({measured['n']})"
    shown = f"{floor:>10.3g}" if floor is not None else f"{'–':>10}"
    return f"{measured['value']:>10.3g}{shown}  {against}"


class _Bar:
    """A progress bar of one job, with its counts where it has many items."""

    def __init__(self, title: str):
        self.title = title

    def __enter__(self) -> "_Bar":
        self._bar = click.progressbar(
            length=1000, label=f"{self.title:<38}", show_eta=False, item_show_func=lambda told: told
        )
        self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__(None, None, None)

    def show(self, job: Json) -> None:
        counts = job["counts"]
        told = f"{counts['done']} of {counts['total']}" if counts["total"] > 1 else job["state"]
        self._bar.update(int(1000 * job["progress"]) - self._bar.pos, told)


def _make_access() -> tuple[str, str]:
    """A key and a dashboard password for the demo's tenant, as an operator would make them."""
    with transaction() as session:
        owner = session.scalar(select(Tenant).where(Tenant.name == TENANT))
        owner = owner or tenants.add_tenant(session, TENANT)
        scopes = [Scope.READ, Scope.GENERATE, Scope.TRAIN]
        _, key = tenants.add_key(session, owner.id, "demo", scopes)
    return key, make_access(EMAIL, TENANT, Role.ADMIN)

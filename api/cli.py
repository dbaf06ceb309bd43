"""The operators' commands of `atelier`: a command parses and calls one service.

Keys and passwords go to stdout alone, so that scripts can take them; everything else goes to
stderr.
"""

import sys
from pathlib import Path

import click

from api.cli_common import says_errors, use_local
from api.cli_tenants import key, tenant
from api.cli_users import user
from api.client.showing import tell
from shared import catalog
from shared.db import transaction
from shared.queues import hint_now
from shared.services import imports, models, tenants
from shared.services.ledger import pause
from shared.settings import settings
from shared.states import Lane


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run and look after an Atelier installation."""


main.add_command(tenant)
main.add_command(key)
main.add_command(user)


@main.command()
@says_errors
def up() -> None:
    """Run the whole installation here until Ctrl-C; data are kept in ATELIER_HOME."""
    from api.installation import run

    run(lambda address: tell(f"ready  {address}  (Ctrl-C stops it; data in {settings().home})"))


@main.command()
@click.option("--exit", "exit_", is_flag=True, help="End after the summary.")
@click.option("--to", "folder", type=click.Path(path_type=Path), default=Path("demo-output"))
@says_errors
def demo(exit_: bool, folder: Path) -> None:
    """Run the installation and the whole main job on it: data, training, generation, results."""
    from api.demo.show import show

    sys.exit(show(folder.absolute(), stay=not exit_))


@main.command()
@says_errors
def migrate() -> None:
    """Bring the database up to this release's tables."""
    from migrations.commands import upgrade

    upgrade()
    tell("the database is up to date")


@main.command()
@says_errors
def doctor() -> None:
    """Look at everything an installation rests on; exit code 1 when something is amiss."""
    from api.doctor import examine

    use_local()
    well = True
    for finding in examine():
        well &= finding.ok
        tell(f"{'ok   ' if finding.ok else 'FAULT'}  {finding.what:<9} {finding.told}")
    sys.exit(0 if well else 1)


@main.group()
def lane() -> None:
    """Lanes: what workers listen to."""


@lane.command("pause")
@click.argument("name", type=click.Choice([lane.value for lane in Lane]))
@says_errors
def lane_pause(name: str) -> None:
    """Have workers claim nothing from a lane, and put back what they hold of it."""
    use_local()
    with transaction() as session:
        pause.pause_lane(session, Lane(name))


@lane.command("resume")
@click.argument("name", type=click.Choice([lane.value for lane in Lane]))
@says_errors
def lane_resume(name: str) -> None:
    """Have a paused lane served again."""
    use_local()
    with transaction() as session:
        pause.resume_lane(session, Lane(name))
    hint_now(Lane(name))


@main.group()
def model() -> None:
    """Models."""


@model.command("import")
@click.argument("name")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--tenant", "tenant_name", required=True)
@click.option("--family", "family_name", default="causal_lm", show_default=True)
@says_errors
def model_import(name: str, folder: Path, tenant_name: str, family_name: str) -> None:
    """Register a folder of safetensors as a new version of a model; prints `name@version`."""
    use_local()
    family = catalog.family(family_name)
    with transaction() as session:
        owner = tenants.tenant_named(session, tenant_name)
        models.check_target(session, owner.id, name, family)
    new = imports.store_folder(owner.id, folder, family)
    with transaction() as session:
        version = models.register(session, owner.id, name, family, new)
    click.echo(f"{name}@{version.version}")

"""The command line: ``wardround COMMAND``. Each folder brings its own commands."""

from __future__ import annotations

import os
import sys
from typing import Annotated

# Flower reads these when it is imported: no telemetry, no look for updates.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import typer
from click.exceptions import Abort, ClickException, Exit
from rich.console import Console

from client.site_commands import app as site
from coordinator.commands import app as coordinator
from coordinator.study_commands import app as study
from explorer.commands import events, export, watch
from explorer.web.commands import explore
from protocol.errors import WardroundError
from simulations.commands import audit, claim, scenarios, show, simulate, verify_file
from simulations.court_commands import cheating
from simulations.grant_commands import app as grants
from simulations.live.commands import app as network
from simulations.store_commands import app as store

app = typer.Typer(
    name="wardround",
    help="Federated learning for hospitals, every round recorded and repeatable on a chain.",
    epilog="Start with: wardround simulate demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command()(simulate)
app.command()(audit)
app.command()(claim)
app.command()(show)
app.command("verify-file")(verify_file)
app.command()(scenarios)
app.command()(cheating)
app.command()(explore)
app.command()(events)
app.command()(watch)
app.command()(export)
app.add_typer(study)
app.add_typer(site)
app.add_typer(coordinator)
app.add_typer(network)
app.add_typer(grants)
app.add_typer(store)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.")] = False,
) -> None:
    """Take options that go before any command."""


def main() -> None:
    """Run a command; turn errors into one line and a non-zero status."""
    debug = "--debug" in sys.argv
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        status = app(standalone_mode=False)
    except Exit as finished:
        status = finished.exit_code
    except ClickException as error:
        error.show()
        status = error.exit_code
    except (Abort, KeyboardInterrupt):
        errors.print("stopped")
        status = 130
    except WardroundError as error:
        if debug:
            raise
        errors.print(f"error: {error}", style="red", markup=False)
        status = 1
    except OSError as error:
        # Disk, folders and sockets fail with words of the operating system's own.
        if debug:
            raise
        errors.print(f"error: {error}", style="red", markup=False)
        status = 1
    sys.exit(status or 0)


if __name__ == "__main__":
    main()

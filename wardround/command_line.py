"""The command line: ``wardround COMMAND``. Each room brings the commands of its code, by role."""

from __future__ import annotations

import inspect
import os
import sys
from importlib import import_module, metadata
from typing import Annotated, Any, NamedTuple, NoReturn

# Flower reads these when it is imported: no telemetry, no look for updates.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import click
import typer
from click.exceptions import Abort, ClickException, Exit
from typer.core import TyperGroup

from wardround.host.commands import Commands
from wardround.host.screen import Screen
from wardround.protocol.errors import WardroundError


class Listed(NamedTuple):
    """A command or group of commands: where it is, what its help begins with, who needs it."""

    target: str
    help: str
    role: str


def _listed(role: str, **commands: tuple[str, str]) -> dict[str, Listed]:
    return {
        name.replace("_", "-"): Listed(target, words, role)
        for name, (target, words) in commands.items()
    }


#: In the order of the help, by role.
COMMANDS = {
    **_listed(
        "Sponsor",
        study=(
            "wardround_coordinator.study_commands:app",
            "Sponsor a study: create and fund it, admit sites, open it, end it, be refunded.",
        ),
        grants=(
            "wardround_coordinator.grant_commands:app",
            "Let accounts read a study's encrypted updates and models, by a grant on chain.",
        ),
    ),
    **_listed(
        "Site",
        site=(
            "wardround_client.site_commands:app",
            "Run a hospital's side: its key, its table, its say in what leaves.",
        ),
        claim=(
            "wardround.audit.commands:claim",
            "Pay a site what it has earned in final rounds and was not paid yet.",
        ),
    ),
    **_listed(
        "Coordinator",
        coordinator=(
            "wardround_coordinator.commands:app",
            "Coordinate a study: take in sites, run its rounds, post a bond and get it back.",
        ),
        store=(
            "wardround.store.commands:app",
            "Make reading keys, serve a confidential store, mend a replicated one.",
        ),
    ),
    **_listed(
        "Auditor",
        audit=(
            "wardround.audit.commands:audit",
            "Recompute every round from chain and store alone; end with 0 only if all holds.",
        ),
        court=(
            "wardround.audit.court_commands:app",
            "Prove a wrong round on chain, answer demands for data, collect what it brought in.",
        ),
        contract=(
            "wardround.audit.contract_commands:app",
            "Prove that a contract is wardround's, offline, and write its sources for explorers.",
        ),
        verify_result=(
            "wardround.audit.result_commands:verify_result",
            "Check who signed an audit's result, and that its rounds are still the chain's.",
        ),
        verify_file=(
            "wardround.audit.commands:verify_file",
            "Print a file's CID and, for a vector, its Merkle root, as the chain and IPFS name it.",
        ),
    ),
    **_listed(
        "Reader",
        explore=(
            "wardround.explorer.web.commands:explore",
            "Look at studies, rounds, sites and rewards in a browser, and check them there.",
        ),
        watch=(
            "wardround.explorer.commands:watch",
            "Watch studies, rounds and sites in this terminal, with what needs attention.",
        ),
        events=(
            "wardround.explorer.commands:events",
            "List what happened, oldest first, with the range of indexed blocks.",
        ),
        export=(
            "wardround.explorer.commands:export",
            "Write a study, or one round, into one archive that can be verified offline.",
        ),
        model=(
            "wardround.audit.model_commands:app",
            "Take a study's model away as a file, and bind such a file to its round on chain.",
        ),
        show=(
            "wardround.audit.commands:show",
            "Show an object of a run's store, verified: a manifest, report, vector or "
            "specification.",
        ),
        leak=(
            "wardround.leak.commands:leak",
            "Try known attacks on what a run published; end with 1 if one finds a row or a member.",
        ),
    ),
    **_listed(
        "Researcher",
        simulate=(
            "wardround_simulations.commands:simulate",
            "Simulate hospitals that learn together, with every round on a chain.",
        ),
        scenarios=(
            "wardround_simulations.commands:scenarios",
            "List the scenarios that come with wardround.",
        ),
        cheating=(
            "wardround_simulations.cheating_commands:cheating",
            "Let every party try every cheat, and see what catches it and what it costs.",
        ),
        network=(
            "wardround_simulations.live.commands:app",
            "Run a whole network on this machine: chain, coordinators, sites, each its own "
            "process.",
        ),
        chain=(
            "wardround.devchain.commands:app",
            "Give accounts money on a development chain, and let time pass there.",
        ),
    ),
}


class LazyGroup(TyperGroup):
    """Imports a command once it is called: what they need takes seconds, a list of them does not.

    Until then each is a name and a line of help, which is all that the list shows.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": dict(map(_named, COMMANDS))})

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called, and import it. See `click.Group.resolve_command`."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed if listed is None else _imported(str(listed.name)), rest


def _named(name: str) -> tuple[str, click.Command]:
    command = click.Command(name, help=COMMANDS[name].help)
    command.rich_help_panel = COMMANDS[name].role  # type: ignore[attr-defined]
    return name, command


def _imported(name: str) -> click.Command:
    module, _, attribute = COMMANDS[name].target.partition(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, Commands):
        group = typer.main.get_group(found)
        group.name, group.help = name, COMMANDS[name].help
        return _unwrapped(group)
    alone = Commands()
    alone.command(name)(found)
    return _unwrapped(typer.main.get_command(alone))


def _unwrapped(command: click.Command) -> click.Command:
    """Let help flow to the terminal's width: Typer would keep the breaks of our source's lines."""
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        _unwrapped(below)
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    command.help = "\n\n".join(
        # Examples are indented, and stay as they are.
        paragraph
        if "\n " in paragraph or paragraph.startswith(" ")
        else " ".join(paragraph.split())
        for paragraph in paragraphs
    )
    return command


app = typer.Typer(
    name="wardround",
    cls=LazyGroup,
    help="Federated learning for hospitals, every round recorded and repeatable on a chain.",
    epilog="Start with: wardround simulate demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wardround {metadata.version('wardround')}")
        raise Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the installed version and exit.",
        ),
    ] = False,
) -> None:
    """Take options that go before any command."""


def main() -> None:
    """Run the command that this process was started with, and end it."""
    run(app)


def run(app: typer.Typer) -> NoReturn:
    """Run a command; turn errors into one line and a non-zero status."""
    debug = "--debug" in sys.argv
    errors = Screen(stderr=True, highlight=False, soft_wrap=True)
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
        errors.show(f"error: {error} [{error.code}]", style="red")
        status = 1
    except OSError as error:
        # Disk, folders and sockets: the file, and the operating system's reason without its number.
        if debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or str(error)
        errors.show(f"error: {where}{reason} [system]", style="red")
        status = 1
    sys.exit(status or 0)

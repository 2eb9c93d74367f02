"""Forms of options: on the command line each field is an option of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from wardround.host.commands import Commands

app = Commands()


@dataclass(frozen=True, kw_only=True)
class Place:
    city: Annotated[str, typer.Argument(help="Where.")]
    floor: Annotated[int, typer.Option(min=0, help="How high.")] = 0


@app.command()
def visit(
    place: Place,
    guest: Annotated[str, typer.Option(help="Who.")],
    late: Annotated[bool, typer.Option("--late", help="After hours.")] = False,
) -> None:
    """Visit a place."""
    print(place, guest, late)


def test_form_when_a_command_takes_one_is_filled_from_its_options() -> None:
    said = CliRunner().invoke(app, ["Basel", "--floor", "3", "--guest", "Ada", "--late"])
    assert said.output == "Place(city='Basel', floor=3) Ada True\n"
    assert (
        CliRunner().invoke(app, ["Basel", "--guest", "Ada"]).output
        == f"{Place(city='Basel')} Ada False\n"
    )


def test_form_when_a_field_is_wrong_or_missing_is_refused_by_name() -> None:
    low = CliRunner().invoke(app, ["Basel", "--floor", "-1", "--guest", "Ada"])
    assert (low.exit_code, "--floor" in low.output) == (2, True)
    assert CliRunner().invoke(app, ["--guest", "Ada"]).exit_code == 2


def test_help_of_a_form_has_required_options_first() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert shown.index("--guest") < shown.index("--floor")

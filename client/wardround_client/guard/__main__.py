"""``python -m wardround_client.guard HOME``: run a site's guard in the foreground."""

from __future__ import annotations

import typer

from wardround_client.site_commands import guard, run_alone

if __name__ == "__main__":
    program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    program.command()(guard)
    run_alone(program)

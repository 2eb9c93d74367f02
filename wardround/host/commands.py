"""Groups of commands, and forms: options that several commands have in common.

A form is a frozen dataclass whose fields are annotated for Typer. A command takes it as one
argument; on the command line each field is an argument or option of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, TypeVar, get_type_hints

import typer

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


class Commands(typer.Typer):
    """A group of commands, which may take forms. The name and help are in the list of all."""

    def __init__(self, epilog: str | None = None) -> None:
        super().__init__(
            epilog=epilog,
            no_args_is_help=True,
            add_completion=False,
            rich_markup_mode="rich",
            pretty_exceptions_enable=False,
        )

    def command(self, name: str | None = None, **attributes: Any) -> Callable[[CommandT], CommandT]:
        """Add a command; see `typer.Typer.command`."""
        register = super().command(name, **attributes)

        def add(function: CommandT) -> CommandT:
            register(_spread(function))
            return function

        return add


def _spread(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function the fields of its forms as parameters, in the place of the forms."""
    hints = get_type_hints(function, include_extras=True)
    forms: dict[str, Any] = {name: one for name, one in hints.items() if is_dataclass(one)}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        owner = forms.get(parameter.name, function)
        hints = get_type_hints(owner, include_extras=True)
        own = [parameter] if owner is function else inspect.signature(owner).parameters.values()
        parameters += [
            one.replace(annotation=hints[one.name], kind=one.KEYWORD_ONLY) for one in own
        ]
    # As in any signature, and so in the help: required ones first.
    parameters.sort(key=lambda one: one.default is not one.empty)

    @wraps(function)
    def called(**given: Any) -> Any:
        for name, form in forms.items():
            given[name] = form(**{field.name: given.pop(field.name) for field in fields(form)})
        return function(**given)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # not typed
    return called

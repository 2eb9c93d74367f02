"""Every option of every command, with another value than the true one.

Here are those about studies and runs. A probe gives an option a value that is not the true one; the
command must refuse it by name, or end otherwise than without.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import typer

from wardround import command_line

#: What a command's first parameter is called where a study is named by its id.
IDENTITY = "study"
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class RefusedByName:
    """The option's value is refused.

    Attributes:
        value: words put in the place of the true ones.
        words: part of the error; of a usage error, of its text.
    """

    value: tuple[object, ...]
    words: str


@dataclass(frozen=True)
class DoesOtherwise:
    """The command ends well, and prints or does something else.

    Attributes:
        value: words put in the place of the true ones.
        words: part of what it prints then, and not without the option; or "" where a test of the
            command's own compares what it did.
    """

    value: tuple[object, ...]
    words: str


@dataclass(frozen=True)
class TriedBy:
    """What the option does takes processes, a person or a study of its own.

    Attributes:
        test: which gives it and compares what was done: ``tests/client/test_x.py::test_y``.
    """

    test: str

    def is_there(self, option: str) -> bool:
        """Whether there is such a test, and its file names the option or its parameter."""
        path, _, name = self.test.partition("::")
        source = (ROOT / path).read_text("utf-8")
        tests = {one.name for one in ast.parse(source).body if isinstance(one, ast.FunctionDef)}
        bare = option.lstrip("-").replace("-", "_")
        return name in tests and (option in source or re.search(rf"\b{bare}\b", source) is not None)


Probe = RefusedByName | DoesOtherwise | TriedBy


def parameters() -> Iterator[tuple[str, str]]:
    """Every command and parameter, as its parser has them: ``court attest``, ``--round``."""
    for name, command in _leaves(typer.main.get_group(command_line.app), ""):
        for parameter in command.params:
            is_option = isinstance(parameter, click.Option)
            yield name, parameter.opts[0] if is_option else str(parameter.name)


def _leaves(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name in group.commands:
        _, command, _ = group.resolve_command(click.Context(group), [name])
        assert command is not None
        if isinstance(command, click.Group):
            yield from _leaves(command, f"{path}{name} ")
        elif not command.hidden:
            yield path + name, command


NOWHERE = "http://127.0.0.1:9"
OTHER_STUDY, OTHER_ADDRESS = "0x" + "12" * 32, "0x" + "12" * 20
#: Of a study that is named by its id.
OF_A_STUDY: dict[str, Probe] = {
    "study": RefusedByName((OTHER_STUDY,), "the chain has no such study"),
    "--rpc": RefusedByName((NOWHERE,), "[chain-unreachable]"),
    "--contract": RefusedByName((OTHER_ADDRESS,), "there is no contract"),
    "--chain-id": RefusedByName((7,), "chain 7"),
    "--store": RefusedByName(("elsewhere",), "is not in"),
}
#: Of a study that is in a run's folder.
OF_A_RUN: dict[str, Probe] = {
    "--rpc": RefusedByName((NOWHERE,), "it has all of it"),
    "--chain-id": RefusedByName((7,), "it has all of it"),
    "--contract": RefusedByName((OTHER_ADDRESS,), "it has all of it"),
    "--store": RefusedByName(("elsewhere",), "it has all of it"),
}
AS_JSON = DoesOtherwise((), "{")
#: Of an audit that is signed, or goes on from one: tests/audit/test_result.py has true values.
OF_A_RESULT: dict[str, Probe] = {
    "--sign": RefusedByName((), "--sign needs --key FILE"),
    "--output": RefusedByName(("other.json",), "--output and --publish go with --sign"),
    "--publish": RefusedByName((), "--output and --publish go with --sign"),
    "--from": RefusedByName(("missing.json",), "missing.json"),
    "--trust": RefusedByName((OTHER_ADDRESS,), "--trust goes with --from FILE"),
}


def _sent(**more: Probe) -> dict[str, Probe]:
    named = {name: probe for name, probe in OF_A_STUDY.items() if name != "--rpc"}
    return {
        **named,
        "--chain": OF_A_STUDY["--rpc"],
        "--json": AS_JSON,
        "--key": RefusedByName(("missing.key",), "missing.key"),
        **{f"--{name.replace('_', '-')}": probe for name, probe in more.items()},
    }


#: By command: the probes of a study that is named by its id.
BY_ID: dict[str, dict[str, Probe]] = {
    "audit": {
        **OF_A_STUDY,
        "--json": AS_JSON,
        "--reading-key": RefusedByName(("reader.key",), "goes with a run's folder"),
        "--jobs": RefusedByName((0,), "0 is not in the range"),
        "--run-study-code": DoesOtherwise((), "first model: built again"),
        "--watch": DoesOtherwise((), "round 1: holds"),
        "--key": RefusedByName(("auditor.key",), "--key goes with --watch"),
        "--challenge": RefusedByName((), "add --key"),
        "--answer": RefusedByName((), "add --key"),
        "--signatures": RefusedByName(("shared",), "add --key"),
        **OF_A_RESULT,
    },
    "claim": {
        **OF_A_STUDY,
        "study": RefusedByName((OTHER_STUDY,), "StudyUnknown"),
        "--json": AS_JSON,
        "--key": RefusedByName(("missing.key",), "missing.key"),
        "site": DoesOtherwise((OTHER_ADDRESS,), "the study never admitted this site"),
    },
    "court challenge": _sent(),
    "court answer": _sent(),
    "court attest": _sent(
        signatures=RefusedByName(("shared",), "no second auditor"),
        auditor=RefusedByName((OTHER_ADDRESS,), "it is no auditor's of this study"),
        signature=RefusedByName(("0x12",), "go with --auditor"),
        round=RefusedByName((9,), "go with --auditor"),
    ),
    "court demands": {
        **{name: probe for name, probe in _sent().items() if name not in ("--key", "--store")},
        "study": RefusedByName((OTHER_STUDY,), "StudyUnknown"),
    },
    "court collect": {
        **{name: probe for name, probe in _sent().items() if name != "--store"},
        "study": RefusedByName((OTHER_STUDY,), "StudyUnknown"),
        "--account": DoesOtherwise((OTHER_ADDRESS,), "has nothing to collect"),
    },
    "model export": {
        **OF_A_STUDY,
        "--out": DoesOtherwise(("other.safetensors",), "other.safetensors: "),
        "--reading-key": RefusedByName(("reader.key",), "&key=FILE"),
        "--round": RefusedByName((9,), "round 9 was not closed"),
        "--as-recorded": DoesOtherwise((), "taken as recorded"),
    },
    "model verify": {
        **OF_A_STUDY,
        "file": RefusedByName(("missing",), "there is no such file"),
        "--reading-key": RefusedByName(("reader.key",), "&key=FILE"),
    },
}
#: By command: the probes of a run's folder.
BY_RUN: dict[str, dict[str, Probe]] = {
    "audit": {
        **OF_A_RUN,
        "run_or_study": RefusedByName(("elsewhere",), "network.json is missing"),
        "--json": AS_JSON,
        "--reading-key": RefusedByName(("reader.key",), "nothing in its store is encrypted"),
        "--jobs": RefusedByName((0,), "0 is not in the range"),
        "--run-study-code": DoesOtherwise((), "first model: built again"),
        "--watch": RefusedByName((), "--jobs does not go with --watch"),
        "--key": RefusedByName(("auditor.key",), "--key goes with --watch"),
        "--challenge": RefusedByName((), "add --key"),
        "--answer": RefusedByName((), "add --key"),
        "--signatures": RefusedByName(("shared",), "add --key"),
        **OF_A_RESULT,
    },
    "claim": {
        **OF_A_RUN,
        "run_or_study": RefusedByName(("elsewhere",), "network.json is missing"),
        "site": RefusedByName(("nowhere",), "no site is called 'nowhere'"),
        "--json": AS_JSON,
        "--key": RefusedByName(("missing.key",), "missing.key"),
    },
    "model export": {
        **OF_A_RUN,
        "run_or_study": RefusedByName(("elsewhere",), "network.json is missing"),
        "--out": DoesOtherwise(("other.safetensors",), "other.safetensors: "),
        "--reading-key": RefusedByName(("reader.key",), "nothing in its store is encrypted"),
        "--round": DoesOtherwise((2,), "round 2 of 3"),
        "--as-recorded": DoesOtherwise((), "taken as recorded"),
    },
    "model verify": {
        **OF_A_RUN,
        "file": RefusedByName(("missing",), "there is no such file"),
        "run_or_study": RefusedByName(("elsewhere",), "network.json is missing"),
        "--reading-key": RefusedByName(("reader.key",), "nothing in its store is encrypted"),
    },
    "simulate": {
        "scenario": RefusedByName(("nothing",), "nothing"),
        "--data-dir": RefusedByName(("folder",), "reads no files"),
        "--rounds": DoesOtherwise((2,), "2"),
        "--seed": DoesOtherwise((77,), ""),
        "--confidential": DoesOtherwise((), "encrypted in its store"),
        "--out": DoesOtherwise(("other",), "Everything is in other"),
        "--engine": RefusedByName(("ray",), "add --chain anvil"),
        "--chain": RefusedByName((NOWHERE,), "[chain-unreachable]"),
        "--chain-id": DoesOtherwise((4242,), ""),
        "--funder-key": RefusedByName(("funder.key",), "leave --funder-key out"),
        "--simulation-key": DoesOtherwise(("secret",), ""),
        "--json": AS_JSON,
    },
}

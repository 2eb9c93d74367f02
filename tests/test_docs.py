"""README.md and docs/ are true: commands, output, links, keys, fields."""

from __future__ import annotations

import ast
import json
import re
import shlex
import types
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import unquote

import click
import pytest
import torch
import typer
from pydantic import BaseModel
from pydantic.alias_generators import to_snake
from pydantic_core import PydanticUndefined
from starlette.routing import Route

from tests.shown import PAGES, PICTURES, ROOT, Block, blocks, run_block
from tests.test_house import tracked
from wardround.audit.finished import NetworkFile
from wardround.audit.result import RESULT_TYPE
from wardround.chain import events
from wardround.chain.artifacts import load_artifact
from wardround.command_line import app
from wardround.learning.datasets import SOURCES
from wardround.learning.models import MODELS
from wardround.learning.models.flat import layout_of
from wardround.protocol.attestation import ATTESTATION_TYPE
from wardround.protocol.contribution import CONTRIBUTION_TYPE
from wardround.protocol.manifest import Manifest
from wardround.protocol.masking.contribution import MASKED_TYPE
from wardround.protocol.masking.sealing import SEALING_TYPE
from wardround.protocol.masking.setup_document import SETUP_TYPE, SetupForm
from wardround.protocol.masking.unmasking import UNMASKING_TYPE
from wardround.protocol.payout import PAYOUT_TYPE
from wardround.protocol.reasons import REASONS
from wardround.protocol.record import Record, StudyParams
from wardround.protocol.report import MetricName, Report
from wardround.protocol.study import (
    AggregationSpec,
    ChainSpec,
    ModelSpec,
    PrivacySpec,
    RewardSpec,
    StudySpec,
    StudyTable,
    TrainingSpec,
)
from wardround.store import key_ring, sealing
from wardround.store.gateway import Gateway
from wardround.store.key_ring import RING_TYPE
from wardround.store.request import REQUEST_TYPE
from wardround_client.guard.log import KEPT
from wardround_simulations.attackers import ATTACKS
from wardround_simulations.scenario import Behaviour, DataSpec, Scenario, builtin_scenarios

PROOFS = ROOT / "contracts" / "proofs"
BLOCKS = [block for page in PAGES for block in blocks(page)]
CLI = typer.main.get_command(app)
assert isinstance(CLI, click.Group)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def where(block: Block) -> str:
    return f"{block.page}:{block.line}"


# ---------------------------------------------------------------- commands


def simple_commands(line: str) -> Iterator[list[str]]:
    """Split a shell line into the words of each command in it."""
    for substituted in re.findall(r"\$\((.*?)\)", line):
        yield from simple_commands(substituted)
    lexer = shlex.shlex(
        re.sub(r"\$\(.*?\)", "SUBSTITUTED", line), posix=True, punctuation_chars=True
    )
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set(";&|"):
            if words:
                yield words
            words = []
        elif set(word) <= set("<>"):
            words.append(">")
        else:
            words.append(word)


def command_lines(program: str) -> list[tuple[str, list[str]]]:
    found = []
    for block in BLOCKS:
        for line in block.commands:
            for words in simple_commands(line):
                if words[0] == program:
                    found.append((f"{where(block)}: {line}", words[1:]))
    return found


def parse(words: list[str]) -> str:
    """Parse a command line as the program does, without running anything; name its command."""
    words = words[: words.index(">")] if ">" in words else words
    command: click.Command = CLI
    names: list[str] = []
    while isinstance(command, click.Group):
        place = next((i for i, word in enumerate(words) if not word.startswith("-")), None)
        assert place is not None, f"{' '.join(names)} wants a command"
        name, words = words[place], words[place + 1 :]
        _, found, _ = command.resolve_command(click.Context(command), [name])
        assert found is not None, f"there is no command {' '.join([*names, name])}"
        command, names = found, [*names, name]
    command.make_context(names[-1], list(words))
    return " ".join(names)


def leaves(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Name every command, with those of its group before it: `site init`."""
    for name in group.commands:
        _, command, _ = group.resolve_command(click.Context(group), [name])
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path}{name} ")
        elif not command.hidden:
            yield path + name, command


def test_every_command_line_parses() -> None:
    lines = command_lines("wardround")
    assert len(lines) > 10
    for line, words in lines:
        try:
            parse(words)
        except (click.ClickException, AssertionError) as error:
            pytest.fail(f"{line}: {error}")


@pytest.mark.parametrize("line", ["nothing", "audit", "simulate --engine horse", "simulate --ever"])
def test_wrong_command_lines_are_noticed(line: str) -> None:
    with pytest.raises((click.ClickException, AssertionError)):
        parse(line.split())


def test_every_command_and_option_is_documented() -> None:
    shown = {parse(words) for _, words in command_lines("wardround")}
    assert {name for name, _ in leaves(CLI)} <= shown
    everything = "\n".join(map(text_of, PAGES))
    options = {
        option
        for _, command in leaves(CLI)
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
    }
    # `--help` documents these two in full.
    missing = {option for option in options if option not in everything}
    assert missing <= {"--seed", "--chain-id"}


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", text_of("Makefile"), re.MULTILINE))
    asked = {word for _, words in command_lines("make") for word in words}
    assert {"demo", "check", "test", "bench", "setup"} <= asked <= targets


def test_scenarios_named_exist() -> None:
    asked = {words[1] for _, words in command_lines("wardround") if words[0] == "simulate"}
    assert {name for name in asked if not name.endswith(".toml")} == set(builtin_scenarios())


def named_tests(text: str) -> set[str]:
    return set(re.findall(r"`(test\w*_\w+_\w+|(?:invariant|check)_\w+)`", text))


def test_what_is_enforced_names_its_tests() -> None:
    """Each row or point of the threat model; a promise that no test can break is not made."""
    _, _, page = text_of("docs/threat-model.md").partition("\n## A coordinator that cheats\n")
    points = [
        point
        for point in re.split(r"\n(?=[|\n-])", page.replace("not enforced", ""))
        if re.search(r"\b[Ee]nforced\b", point)
    ]
    assert len(points) > 30
    for point in points:
        assert named_tests(point), point


def test_tests_that_pages_name_exist() -> None:
    folders = [ROOT / "contracts" / "test", PROOFS, ROOT / "tests"]
    written = {
        name
        for folder in folders
        for path in [*folder.rglob("*.sol"), *folder.rglob("*.py")]
        for name in re.findall(r"(?:function|def) (\w+)", path.read_text("utf-8"))
    }
    for page in PAGES:
        if page != "CHANGELOG.md":
            assert named_tests(text_of(page)) <= written, page


def test_gas_of_registrations_is_what_was_measured() -> None:
    snapshot = text_of("contracts/snapshots/CourtDemandGasTest.json")
    measured = {name: round(int(gas), -3) for name, gas in json.loads(snapshot).items()}
    chunks = [("demandContribution", 1), ("answerContribution", 1)]
    chunks += [("demandContribution", 51), ("answerContribution", 51)]
    chunks += [("demandContribution", 2601), ("answerContribution", 100)]
    section = text_of("docs/challenges.md").split("## Registered contributions")[1]
    table = "\n".join(re.findall(r"^\|.*\|$", section.split("\n## ")[0], re.MULTILINE))
    shown = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*,000", table)]
    names = ["contribute", *(f"{name}-{count}" for name, count in chunks)]
    assert dict(zip(names, shown, strict=True)) == measured


# ---------------------------------------------------------------- links and pictures


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_somewhere(page: str) -> None:
    plain = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", plain):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), target
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {anchor_of(heading) for heading in headings}, f"{page}: {target}"


def anchor_of(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_picture_is_small_and_shown() -> None:
    pictures = list((ROOT / "docs" / "images").iterdir())
    # Runs draw the plots, and the browser tests take the explorer's screenshots.
    screenshots = {picture.name for picture in pictures if picture.name.startswith("explorer-")}
    assert {picture.name for picture in pictures} == set(PICTURES.values()) | screenshots
    everything = "\n".join(map(text_of, PAGES))
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < 160 * 1024
        assert f"images/{picture.name})" in everything


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, ahead = set(), ["README.md"]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        for target in re.findall(r"\]\(([\w./-]+\.md)\)", text_of(page)):
            name = ((ROOT / page).parent / target).resolve().relative_to(ROOT).as_posix()
            if name not in reached:
                ahead.append(name)
    assert set(PAGES) <= reached


def test_files_named_in_code_exist() -> None:
    names = "|".join(path.name for path in ROOT.iterdir() if (path / "__init__.py").exists())
    for page in PAGES:
        for name in re.findall(rf"`((?:{names})/[\w/]*\w\.\w+)`", text_of(page)):
            assert (ROOT / name).exists(), f"{page}: {name}"


def test_map_of_folders_is_whole() -> None:
    drawn = next(
        b for b in BLOCKS if b.page == "README.md" and "the library and the command line" in b.text
    )
    rooms = {path.parent.name for path in ROOT.glob("wardround/*/__init__.py")}
    assert set(re.findall(r"^  (\w+)/", drawn.text, re.MULTILINE)) == rooms
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()} & {
        name.split("/")[0] for name in tracked()
    }
    assert set(re.findall(r"(?:^|  )(\w+)/", drawn.text, re.MULTILINE)) - rooms == folders - {".ci"}


def test_copies_of_files_are_current() -> None:
    copies = [block for block in BLOCKS if block.file]
    assert copies
    for block in copies:
        assert block.text == text_of(str(block.file)), f"{where(block)}: run python -m tests.shown"


# ---------------------------------------------------------------- keys and fields


def tables_below(page: str, heading: str) -> list[dict[str, str]]:
    """Read the tables under a heading, down to the next one: second column by key."""
    section = re.search(
        rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", text_of(page), re.MULTILINE | re.DOTALL
    )
    assert section, f"{page} has no heading {heading!r}"
    tables: list[dict[str, str]] = []
    for line in section[1].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.fullmatch(r"\|( --- \|)+", line):
            tables.append({})
        elif line.startswith("| `") and tables:
            tables[-1][cells[0].strip("`")] = cells[1]
    return tables


def tables_below_all(page: str, heading: str) -> list[dict[str, str]]:
    """As `tables_below`; first columns may be without quotes."""
    section = text_of(page).split(f"### {heading}\n")[1].split("\n#")[0]
    tables = []
    for table in re.split(r"^\| --- \| --- \|$", section, flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^\| `?([^|`]+?)`? \| ([^|]+) \|$", table.split("\n\n")[0], re.MULTILINE)
        tables.append(dict(rows))
    return tables


def rows_below(page: str, heading: str) -> list[list[list[str]]]:
    """Read the rows under a heading: for each of three cells, the words in quotes."""
    section = re.split(rf"^#+ {re.escape(heading)}$", text_of(page), flags=re.MULTILINE)[1].split(
        "\n#"
    )[0]
    rows = re.findall(r"^\| (`[^|]+) \| (`[^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    return [[re.findall(r"`(\w+)`", cell) for cell in row] for row in rows]


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Name a document's fields: `a.b` of a part, `a[].b` of a list of parts."""
    for name, field in model.model_fields.items():
        name = prefix + (field.alias or name)
        part, listed = part_of(field.annotation)
        if part is None:
            yield name
            continue
        if not field.is_required() or type(None) in get_args(field.annotation):
            yield name
        yield from fields_of(part, f"{name}{'[]' if listed else ''}.")


def part_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return part_of(get_args(annotation)[0])
    if origin is list:
        return part_of(get_args(annotation)[0])[0], True
    if origin in (Union, types.UnionType):
        return part_of(next(a for a in get_args(annotation) if a is not type(None)))
    is_part = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return (annotation if is_part else None), False


def test_manifest_fields_are_those_of_the_code() -> None:
    (table,) = tables_below("docs/protocol.md", "Manifest fields")
    assert list(table) == list(fields_of(Manifest))


def test_report_fields_are_those_of_the_code() -> None:
    (table,) = tables_below("docs/protocol.md", "Report fields")
    assert list(table) == list(fields_of(Report))
    assert set(re.findall(r"`(\w+)`", table["metrics"])) == set(get_args(MetricName))


def test_fields_of_a_mask_setup_are_those_of_the_code() -> None:
    (table,) = tables_below("docs/masking.md", "6. Setup")
    assert list(table) == list(SetupForm.model_fields)


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


@pytest.mark.parametrize(
    ("heading", "kind", "abi"),
    [
        ("4. Study", StudyParams, "PARAMS_ABI"),
        ("Record fields", Record, "RECORD_ABI"),
    ],
)
def test_abi_fields_are_those_of_the_code(heading: str, kind: type, abi: str) -> None:
    from wardround.protocol import record

    (table,) = tables_below("docs/protocol.md", heading)
    assert list(table) == [camel(name) for name in kind.__dataclass_fields__]  # type: ignore[attr-defined]
    assert "(" + ",".join(table.values()) + ")" == getattr(record, abi)


def field_of(item: dict[str, Any]) -> str:
    kind = item["type"]
    if kind == "tuple":
        kind = item["internalType"].removeprefix("struct ")
    return f"{kind}{' indexed' if item.get('indexed') else ''} {item['name']}"


@pytest.mark.parametrize(
    ("page", "heading", "contract"),
    [
        ("docs/protocol.md", "Events of WardRound", "WardRound"),
        ("docs/protocol.md", "Events of Court", "Court"),
        ("docs/store.md", "Grants", "Grants"),
    ],
)
def test_events_are_those_of_the_contract(page: str, heading: str, contract: str) -> None:
    (table,) = tables_below(page, heading)
    written = {name: fields.strip("`") for name, fields in table.items()}
    assert written == {
        item["name"]: ", ".join(map(field_of, item["inputs"]))
        for item in load_artifact(contract).abi
        if item["type"] == "event"
    }


def test_tally_is_that_of_the_contract() -> None:
    (state, sums) = tables_below("docs/protocol.md", "Tallies")
    (view,) = [item for item in load_artifact("Court").abi if item.get("name") == "tallyOf"]
    (tally,) = view["outputs"]
    (ranks,) = [part for part in tally["components"] if part["type"] == "tuple"]
    assert state == {part["name"]: part["type"] for part in tally["components"]}
    assert sums == {part["name"]: part["type"] for part in ranks["components"]}


def test_immutables_are_those_of_the_contracts() -> None:
    rows = rows_below("docs/protocol.md", "Recognising a contract")
    written = {(one, name) for names, (name,), _ in rows for one in names}
    assert written == {
        (contract, name)
        for contract in ("WardRound", "WardRoundAnnex", "Court", "CourtAnnex", "Escrow")
        for name in load_artifact(contract).runtime.immutables
    }


def test_signed_types_are_those_of_the_code() -> None:
    ours = (CONTRIBUTION_TYPE, ATTESTATION_TYPE, PAYOUT_TYPE, RESULT_TYPE)
    types = dict.fromkeys(ours, "protocol")
    types |= dict.fromkeys((RING_TYPE, REQUEST_TYPE), "store")
    types |= dict.fromkeys((SEALING_TYPE, SETUP_TYPE, MASKED_TYPE, UNMASKING_TYPE), "masking")
    for one, page in types.items():
        text = re.escape(one)
        assert re.search(rf"^{text}$|`{text}`", text_of(f"docs/{page}.md"), re.MULTILINE)
    pages = (one for one in tracked() if one.startswith("wardround/") and one.endswith(".py"))
    found = re.findall(r"\"([A-Z]\w+)\(bytes32 study,[a-z]", "".join(map(text_of, pages)))
    assert sorted(found) == sorted(one.split("(")[0] for one in types)


def test_layouts_are_those_of_the_models() -> None:
    (table,) = tables_below("docs/protocol.md", "The model")
    assert set(table) == set(MODELS)
    for name, arguments in (
        ("logistic", {"features": 5, "classes": 3}),
        ("logistic", {"features": 5, "classes": 2}),
        ("cnn", {"channels": 2, "side": 11, "classes": 4}),
    ):
        classes, side = arguments["classes"], arguments.get("side", 0)
        sizes = {**arguments, "o": 1 if classes == 2 else classes}
        sizes["16 · floor(side / 4)^2"] = 16 * (side // 4) ** 2
        written = re.findall(r"`(\S+)` \((.+?)\)(?=, `|$)", table[name])
        shapes = [
            tuple(sizes.get(one) or int(one) for one in text.split(", ")) for _, text in written
        ]
        layout = layout_of(MODELS[name](**arguments).build())
        assert list(layout.names) == [key for key, _ in written]
        assert list(layout.shapes) == shapes
    mlp = layout_of(MODELS["mlp"](features=9, hidden=[7, 5], classes=3).build())
    assert mlp.names == tuple(
        f"{2 * k + 1}.{part}" for k in range(3) for part in ("weight", "bias")
    )
    assert mlp.shapes == ((7, 9), (7,), (5, 7), (5,), (3, 5), (3,))


def test_sealed_objects_and_rings_are_those_of_the_code() -> None:
    (header,) = tables_below("docs/store.md", "Sealed object")
    sizes = {"s": 1, "Q": 8}
    packed = re.findall(r"(\d*)([sQ])", sealing._HEADER.format)
    assert [int(size) for size in header.values()] == [
        int(n or 1) * sizes[one] for n, one in packed
    ]
    assert list(header) == ["magic", *(field.name for field in fields(sealing.SealedHeader))]
    page = text_of("docs/store.md")
    assert f"header of {sealing.HEADER_BYTES} bytes" in page
    (ring,) = tables_below("docs/store.md", "Key ring")
    assert list(ring) == list(fields_of(key_ring._Document))
    for name in ("sealing", "key_ring", "reading_key"):
        for text in re.findall(r"b\"(wardround [^\"]+)\"", text_of(f"wardround/store/{name}.py")):
            assert f'"{text}"' in page


def test_requests_to_a_gateway_are_those_of_the_code() -> None:
    requests, statuses = tables_below_all("docs/store.md", "Gateway")
    never: Any = None
    routes = Gateway(never, never, lambda: 0.0).app().routes
    written = {
        f"{method} {re.sub('{(.+?)}', lambda part: part[1].upper(), route.path)}"
        for route in routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert set(requests) == written
    code = text_of("wardround/store/gateway.py")
    assert set(statuses) == set(re.findall(r"(?:HTTPException|_answer)\(\s*(\d{3})", code))


def test_keys_of_event_lines_are_those_of_the_code() -> None:
    changed = {
        (event, field): key
        for (event,), names, (key, *_) in rows_below("docs/protocol.md", "14. Files of a run")
        for field in names
    }
    for item in load_artifact("WardRound").abi:
        if item["type"] != "event" or "study" not in [one["name"] for one in item["inputs"]]:
            continue
        name, given = item["name"], [one["name"] for one in item["inputs"]]
        kind = getattr(events, name, None)
        keys = {changed.get((name, one), to_snake(one)) for one in given}
        if kind is not None:
            assert keys == {one.name for one in fields(kind)} - {"log"}, name
        else:
            assert not [one for one in given if (name, one) in changed], name


def test_lines_of_a_guards_log_are_those_of_the_code() -> None:
    (table,) = tables_below("docs/protocol.md", "12. Journal")
    found = {"created": {"site"}}
    for page in ("guard", "budget"):
        source = text_of(f"client/wardround_client/guard/{page}.py")
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith("og.append"):
                continue
            kind = ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else ""
            if kind in KEPT:
                # `**key.fields()` has no name of its own.
                names = (
                    {"study", "round", "base"} if None in [k.arg for k in node.keywords] else set()
                )
                found[kind] = names | {k.arg for k in node.keywords if k.arg is not None}
    assert set(found) == KEPT | {"created"}
    for kind, cell in table.items():
        assert set(re.findall(r"`(\w+)`", cell)) == found.pop(kind)
    assert not found


def test_network_file_is_documented() -> None:
    text = text_of("docs/protocol.md").split("**`network.json`**")[1].split("\n\n")[0]
    assert set(NetworkFile.model_fields) <= set(re.findall(r"`(\w+)`", text))


def test_reasons_are_those_of_the_code() -> None:
    section = text_of("docs/protocol.md").split("## 6. Messages")[1].split("\n## ")[0]
    table = dict(re.findall(r"^\| `([a-z_]+)` \| [^|]+ \| ([^|]+) \|$", section, re.MULTILINE))
    assert table == {word: one.basis.value for word, one in REASONS.items()}
    sources = [text_of("wardround/protocol/checks.py")] + [
        text_of(f"coordinator/wardround_coordinator/{name}.py")
        for name in ("verification", "strategy", "session", "registrations", "round")
    ]
    pattern = r"(?:ReplyRefused\(|CheckFailed\(|_Unreadable\(|_void\(registered, |reason=)\"(\w+)\""
    assert set(table) == {reason for source in sources for reason in re.findall(pattern, source)}


def documented_default(cell: str) -> Any:
    text = cell.strip("`")
    if text == "":
        return PydanticUndefined
    return json.loads(text)


def actual_default(field: Any) -> Any:
    given = {"round_seconds": 3_600}
    default = field.get_default(call_default_factory=True, validated_data=given)
    return PydanticUndefined if default is None else default


KEYS: list[tuple[str, int, type[BaseModel]]] = [
    ("`[study]`", 0, StudyTable),
    ("`[model]`", 0, ModelSpec),
    ("`[training]`", 0, TrainingSpec),
    ("`[privacy]`", 0, PrivacySpec),
    ("`[aggregation]`", 0, AggregationSpec),
    ("`[rewards]`", 0, RewardSpec),
    ("`[chain]`", 0, ChainSpec),
    ("`[data]`", 0, DataSpec),
    ("`[data]`", 1, SOURCES["breast-cancer"]),
    ("`[data]`", 2, SOURCES["generated"]),
    ("`[[behaviour]]`", 0, Behaviour),
]


@pytest.mark.parametrize(("heading", "place", "model"), KEYS)
def test_keys_are_those_of_the_code(heading: str, place: int, model: type[BaseModel]) -> None:
    table = tables_below("docs/study-file.md", heading)[place]
    documented = {key: documented_default(cell) for key, cell in table.items()}
    assert documented == {name: actual_default(field) for name, field in model.model_fields.items()}


def test_no_table_of_a_study_is_left_out() -> None:
    headings = set(re.findall(r"^#+ `\[+(\w+)\]+`$", text_of("docs/study-file.md"), re.MULTILINE))
    assert headings == (set(StudySpec.model_fields) | set(Scenario.model_fields)) - {"about"}


def test_names_to_choose_from_are_documented() -> None:
    page = text_of("docs/study-file.md")
    for name in [*MODELS, *SOURCES, *ATTACKS, "label_flip", "nan"]:
        assert f"`{name}`" in page
    for model in MODELS.values():
        for argument in model.model_fields:
            assert f"`{argument}`" in page


# ---------------------------------------------------------------- output

VARYING = [
    (re.compile(r"0x[0-9a-fA-F]{64}"), "DIGEST"),
    (re.compile(r"0x[0-9a-fA-F]{40}"), "ADDRESS"),
    (re.compile(r"b[a-z2-7]{58}"), "CID"),
    (re.compile(r"\d+\.\d s\b"), "SECONDS"),
    # Zero bytes cost less than others, and digests have more or fewer of them.
    (re.compile(r"\b1\d\d,\d{3}\b"), "GAS"),
]


def shape(text: str) -> list[str]:
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return [re.sub(r"[ ─━]+", " ", line).strip() for line in text.splitlines()]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[Block, str]]]:
    """Type the README's commands on the demo, in their order."""
    folder = tmp_path_factory.mktemp("reader")
    wanted = ("make demo", "wardround audit runs/demo", "wardround claim runs/demo")
    said = {}
    for block in blocks("README.md"):
        if block.language == "console" and block.commands[0] in wanted:
            said[block.commands[0]] = (block, run_block(block, folder))
    assert set(said) == set(wanted)
    return folder, said


@pytest.mark.parametrize(
    "command", ["make demo", "wardround audit runs/demo", "wardround claim runs/demo"]
)
def test_readme_shows_what_the_demo_says(session: Any, command: str) -> None:
    block, now = session[1][command]
    shown = block.text
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        # Other processors round otherwise, so models and accuracies are others.
        shown, now = (re.sub(r"[0-9a-f.,]+…?", "#", text) for text in (shown, now))
    assert shape(now) == shape(shown), "if that is meant: python -m tests.shown"


def test_summary_keys_are_those_of_the_readme(session: Any) -> None:
    summary = json.loads((session[0] / "runs/demo/summary.json").read_text(encoding="utf-8"))
    section = text_of("README.md").split("<!-- summary -->")[1].split("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in section.strip().splitlines()[2:]]
    keys = {key for names, _ in rows for key in re.findall(r"`([\w\[\].]+)`", names)}
    final = next(meaning for names, meaning in rows if names == "`final`")
    assert keys - {"rounds[]"} == (set(summary) - {"rounds"}) | {
        f"rounds[].{key}" for key in summary["rounds"][0]
    }
    assert set(re.findall(r"`(\w+)`", final)) == set(summary["final"])


def test_run_folder_has_what_the_readme_names(session: Any) -> None:
    run = session[0] / "runs/demo"
    section = text_of("README.md").split("## Follow one update")[1].split("\n## ")[0]
    named = set(re.findall(r"`([\w./-]+(?:\.\w+|/))`", section)) - {"runs/demo"}
    found = {path.relative_to(run).as_posix() for path in run.rglob("*")}
    found |= {path.name for path in run.rglob("*")} | {f"{path.name}/" for path in run.iterdir()}
    assert named - found == set()
    sizes = {path.stat().st_size for path in (run / "store").iterdir()}
    assert 124 in sizes

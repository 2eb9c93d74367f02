"""Options of readers, auditors and researchers: honoured, or refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.calling import Call
from tests.integration.networks import finished_run
from tests.lies.options import NOWHERE, OTHER_ADDRESS, OTHER_STUDY, DoesOtherwise, RefusedByName
from tests.lies.probing import ProbedLine, others_of, refused_of
from tests.lies.reader_options import OF_READERS
from tests.lies.stages import staged
from wardround.audit.finished import open_run
from wardround.devchain.faucet import FAUCET
from wardround.explorer import looking
from wardround.explorer.web import commands as web
from wardround.explorer.web.explorer import Explorer
from wardround.host.durable import write_private
from wardround.protocol.identifiers import hex_of
from wardround_simulations.stage import Stage

#: Of arguments, as commands take them.
ORDER = ("file", "run_or_study", "run", "cid", "contract")
Words = dict[str, tuple[object, ...]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_private(tmp_path / "reader.key", FAUCET.key.hex())
    (tmp_path / "no-index").write_text("no index, but words")


def line(call: Call, command: str, words: Words) -> ProbedLine:
    table = OF_READERS[command]
    return ProbedLine(call, command, words, tuple(one for one in ORDER if one in table))


@pytest.mark.parametrize(
    "command", ["explore", "watch", "events", "export", "show", "leak", "verify-file", "cheating"]
)
def test_options_beside_a_folder(
    call: Call, finished: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webbrowser.open", lambda where: None)
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    (tmp_path / "elsewhere").mkdir()
    table = OF_READERS[command]
    words: Words = {one: (folder,) for one in ("run_or_study", "run") if one in table}
    if command == "export":
        words["-o"] = ("evidence.zip",)
    probed = line(call, command, words)
    assert refused_of(probed, table) == []
    if command in ("events", "export"):
        before = probed.run().good
        assert others_of(probed, table, before) == []
    if command == "show":
        both = call("show", folder, "bafybanana", "--round", 1)
        assert "leave it or the CID out" in both.err


# ---------------------------------------------------------------- a live chain


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as made:
        yield made


#: Of a study that is named by its id.
BY_ID = {
    "run_or_study": RefusedByName((OTHER_STUDY,), OTHER_STUDY),
    "--rpc": RefusedByName((NOWHERE,), "[chain-unreachable]"),
    "--contract": RefusedByName((OTHER_ADDRESS,), "there is no contract"),
    "--chain-id": RefusedByName((7,), "chain 7"),
    "--index": RefusedByName(("no-index",), "no-index"),
    "--reading-key": RefusedByName(("reader.key",), "leave --reading-key out"),
}


def test_options_of_a_live_study(call: Call, stage: Stage) -> None:
    """With `--once` a view of it ends, and this test with it."""
    words: Words = {
        "run_or_study": (hex_of(stage.study),),
        "--rpc": (stage.chain.url,),
        "--contract": (stage.contract.address,),
    }
    wrong = []
    for command, more in (
        ("events", {}),
        ("watch", {"--store": ("whole",), "--once": ()}),
        ("export", {"--store": ("whole",), "-o": ("evidence.zip",)}),
    ):
        table = {name: probe for name, probe in BY_ID.items() if name in OF_READERS[command]}
        probed = line(call, command, {**words, **more})
        wrong += refused_of(probed, table)
        # An archive is taken of a chain behind JSON-RPC alone: tests/explorer/test_evidence.py.
        before = probed.run().good if command != "export" else ""
        if command == "events":
            both = probed.run("--study", (OTHER_STUDY,))
            assert "leave one of both out" in " ".join(both.err.replace("│", " ").split())
            honoured = {name: OF_READERS["events"][name] for name in ("--to-block", "--json")}
            honoured["--round"] = DoesOtherwise((1,), "RoundClosed")
            wrong += others_of(probed, honoured, before)
            assert probed.run("--confirmations", (0,)).good == before
    assert wrong == []


def test_options_of_what_is_served(
    call: Call, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The explorer as its options make it, without the server that never ends."""
    explorers, served = list[Explorer](), list[tuple[Any, ...]]()

    @contextmanager
    def indexed(source: Any, *options: Any, **more: Any) -> Iterator[Any]:
        served.append(options)
        with looking.indexed(source, *options) as reader:
            yield reader

    def create(explorer: Explorer, hosts: object) -> Explorer:
        explorers.append(explorer)
        return explorer

    monkeypatch.setattr(web, "indexed", indexed)
    monkeypatch.setattr(web, "create_app", create)
    monkeypatch.setattr(web, "_serve", lambda app, *options: served.append(options))
    words: Words = {
        "run_or_study": (hex_of(stage.study),),
        "--rpc": (stage.chain.url,),
        "--contract": (stage.contract.address,),
    }
    probed = line(call, "explore", words)
    table = {name: probe for name, probe in BY_ID.items() if name != "run_or_study"}
    assert refused_of(probed, table) == []
    served.clear()
    explorers.clear()
    ended = call(
        *("explore", hex_of(stage.study), "--rpc", stage.chain.url, "--store", "whole"),
        *("--contract", stage.contract.address, "--host", "::1", "--port", 0, "--no-browser"),
        *("--confirmations", 3, "--from-block", 1, "--index", "index.sqlite"),
    )
    assert ended.good == ""
    assert served == [
        (Path("index.sqlite"), 3),
        ("::1", 0, hex_of(stage.study), False),
    ]
    source = explorers[0].source
    assert source is not None
    assert source.store is not None
    assert source.first_block == 1
    call("explore", hex_of(stage.study), *("--rpc", stage.chain.url), "--contract",
         stage.contract.address)  # fmt: skip
    assert served[2:] == [(None, None), ("127.0.0.1", 8600, hex_of(stage.study), True)]
    assert explorers[1].source is not None
    assert explorers[1].source.store is None


def test_options_of_auditors(call: Call, stage: Stage, tmp_path: Path, finished: Path) -> None:
    words: Words = {"contract": (stage.contract.address,), "--rpc": (stage.chain.url,)}
    probed = line(call, "contract verify", words)
    assert refused_of(probed, OF_READERS["contract verify"]) == []
    assert others_of(probed, OF_READERS["contract verify"], probed.run().good) == []
    with open_run(finished) as run:
        signed = call(
            *("audit", hex_of(run.study), "--rpc", run.chain.url, "--store", finished / "store"),
            *("--contract", run.contract.address, "--sign", "--key", "auditor.key"),
            *("--output", "result.json", "--jobs", 1),
        )
        assert "result.json" in signed.good
        probed = line(call, "verify-result", {"file": ("result.json",)})
        table = OF_READERS["verify-result"]
        assert refused_of(probed, table) == []
        before = probed.run().good
        assert others_of(probed, table, before) == []
        assert "The closings are the chain's" in probed.run("run", (finished,)).good
        assert "The closings are the chain's" in probed.run("--rpc", (run.chain.url,)).good

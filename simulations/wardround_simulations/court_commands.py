"""Commands that watch over coordinators, and one in which they cheat."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from wardround.audit.auditor import Auditor
from wardround.audit.finished import read_network, run_store
from wardround.audit.folders import Folders
from wardround.audit.notices import Notice, Powers
from wardround.audit.signatures import SignatureFolder
from wardround.chain.chain import Chain, connected
from wardround.chain.ward_round import WardRound
from wardround.devchain.errors import AnvilMissing
from wardround.host.key_file import read_key
from wardround.protocol.errors import ScenarioError
from wardround.protocol.identifiers import StudyId, address_of, bytes32
from wardround.store import Store
from wardround.store.study_store import open_study_store
from wardround_simulations.screen import TOKEN

if TYPE_CHECKING:
    from wardround_simulations.cheating import Outcome
    from wardround_simulations.stage import Parties

_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)
_TABLE_WIDTH = 108
_DEV_CHAIN_ID = 31337
_ETHER = 10**18


# ---------------------------------------------------------------- watching


def powers_of(key: Path | None, challenge: bool, answer: bool, signatures: Path | None) -> Powers:
    """What the options of a command let an auditor do.

    Raises:
        BadParameter: it is to send or sign something and has no key.
        Malformed: the key file cannot be used.
    """
    if key is None and (challenge or answer or signatures is not None):
        raise typer.BadParameter(
            "--challenge, --answer and --signatures send or sign something: add --key FILE"
        )
    return Powers(
        key=None if key is None else read_key(key),
        challenge=challenge,
        answer=answer,
        signatures=None if signatures is None else SignatureFolder(signatures),
    )


def watch(
    run_or_study: str,
    rpc: str | None,
    chain_id: int | None,
    contract: str | None,
    store: str | None,
    reading_key: Path | None,
    powers: Powers,
    as_json: bool,
) -> None:
    """Follow a study on a live chain until it is over and final.

    Raises:
        ScenarioError: the run's chain has ended, or something is not named.
        Exit: with status 1 when a round that does not hold stands in the end.
    """
    where = (run_or_study, rpc, chain_id, contract, store, reading_key)
    with _live(*where) as (ward, study, objects):
        auditor = Auditor(ward, study, objects, powers)
        auditor.watch(_print_json if as_json else _print_words)
        breaches = auditor.breaches
    if breaches:
        raise typer.Exit(1)
    if not as_json:
        _out.print("The study is over and final, and all holds.", style="bold green")


@contextmanager
def _live(
    run_or_study: str,
    rpc: str | None,
    chain_id: int | None,
    contract: str | None,
    store: str | None,
    reading_key: Path | None,
) -> Iterator[tuple[WardRound, StudyId, Store]]:
    folder = Path(run_or_study)
    if folder.is_dir() or not run_or_study.startswith("0x"):
        file = read_network(folder)
        if not file.chain.startswith(("http", "ipc")):
            raise ScenarioError(
                run_or_study, "its chain ended with the run: audit it without --watch"
            )
        identity = StudyId(bytes32(file.study, "study"))
        with connected(file.chain, file.chain_id) as chain:
            ward = WardRound(chain, address_of(file.contract))
            opened = run_store(Folders(folder), ward, identity, file.grants, reading_key)
            with closing(opened) as objects:
                yield ward, identity, objects
        return
    if rpc is None or contract is None or store is None:
        raise ScenarioError(
            run_or_study, "a study's id needs --rpc, --contract and --store as well"
        )
    with connected(rpc, chain_id) as chain:
        ward = WardRound(chain, address_of(contract))
        identity = StudyId(bytes32(run_or_study, "study"))
        with closing(open_study_store(store, Path(), ward, identity)) as objects:
            yield ward, identity, objects


def _print_json(notice: Notice) -> None:
    print(json.dumps(asdict(notice)), flush=True)


def _print_words(notice: Notice) -> None:
    style = {"breach": "bold red", "refused": "red", "overturned": "yellow"}.get(notice.kind, "")
    gas = "" if notice.gas is None else f" ({notice.gas:,} gas)"
    _out.print(
        f"round {notice.round}: {notice.kind}: {notice.words}{gas}", style=style, soft_wrap=True
    )


# ---------------------------------------------------------------- cheating


def cheating(
    chain: Annotated[
        Literal["anvil", "embedded"] | None,
        typer.Option(help="anvil, or embedded; by default anvil where it is installed."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Let a coordinator try every cheat, and see by what it is caught.

    Every trial is a study of its own with real sites. An auditor that has the chain and the
    content store alone proves what is wrong; the standby closes the round again. Ends with 0 only
    if every cheat is caught as it should be, no honest round is overturned, and every study ends
    with the model that honest coordinators give it.

    Examples:
      wardround cheating

      wardround cheating --chain embedded --json
    """
    # PyTorch takes seconds to import, and only this command needs it.
    from wardround_simulations.cheating import Trials
    from wardround_simulations.stage import Parties

    started, parties, outcomes = time.monotonic(), Parties.new(), []
    with (
        TemporaryDirectory(prefix="wardround-cheating-") as folder,
        _development_chain(chain, parties) as (opened, kind),
        _err.status(f"{kind}: preparing") as status,
    ):
        trials = Trials(opened, parties, Path(folder))
        for outcome in trials.run():
            outcomes.append(outcome)
            status.update(f"{kind}: {len(outcomes)} of {trials.count}: {outcome.tried}")
            if as_json:
                print(json.dumps(outcome.document()), flush=True)
    bad = [outcome for outcome in outcomes if not outcome.good]
    if not as_json:
        # On a narrow screen lines wrap; cut words would say nothing. A console never prints wider
        # than it is, whatever width it is asked for, so this is another one.
        wide = Console(highlight=False, width=max(_out.width, _TABLE_WIDTH))
        wide.print(outcomes_table(outcomes))
        seconds = time.monotonic() - started
        for outcome in bad:
            expected = outcome.expected or "nothing"
            _out.print(
                f"{outcome.tried} ({outcome.recording}): expected {expected}; {outcome.words}",
                style="red",
            )
        caught = sum(outcome.slashed > 0 for outcome in outcomes)
        _out.print(
            f"{len(outcomes)} trials on {kind} in {seconds:.0f} s: {caught} bonds slashed, "
            f"{len(bad)} not as it should be."
        )
    if bad:
        raise typer.Exit(1)


def outcomes_table(outcomes: list[Outcome]) -> Table:
    """Lay outcomes out; those that differ by recording alone share a line.

    Args:
        outcomes: in the order of the trials, at least one.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("the coordinator", "recording", "caught by", "gas", "slashed", "closed by", "end"):
        right = name in ("gas", "slashed")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    key = ("tried", "caught_by", "slashed", "closed_by", "good")
    for _, same in groupby(outcomes, lambda one: [getattr(one, name) for name in key]):
        group = list(same)
        first, gas = group[0], max(one.gas for one in group)
        table.add_row(
            first.tried,
            "both" if len(group) > 1 else first.recording,
            first.caught_by or "–",
            f"{gas:,}" if gas else "–",
            f"{first.slashed / TOKEN:,.0f}" if first.slashed else "–",
            first.closed_by,
            "right" if first.good else "WRONG",
            style="" if first.good else "red",
        )
    return table


@contextmanager
def _development_chain(wanted: str | None, parties: Parties) -> Iterator[tuple[Chain, str]]:
    from wardround.devchain.anvil import Anvil
    from wardround.devchain.embedded import EmbeddedChain
    from wardround.devchain.evm import Genesis

    balances = dict.fromkeys(parties.addresses, 10_000 * _ETHER)
    genesis = Genesis(_DEV_CHAIN_ID, int(time.time()), balances)
    anvil = None
    if wanted != "embedded":
        try:
            anvil = Anvil(genesis)
        except AnvilMissing:
            if wanted == "anvil":
                raise
    if anvil is not None:
        with anvil:
            yield anvil.chain, "anvil"
        return
    embedded = EmbeddedChain(f"cheating-{time.monotonic_ns()}", genesis)
    try:
        yield embedded, "embedded"
    finally:
        embedded.close()

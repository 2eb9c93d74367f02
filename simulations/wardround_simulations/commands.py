"""Commands for whoever simulates a network and looks at what came of it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from wardround.audit.archive import JOURNAL, Archive, ArchiveStore
from wardround.audit.archived_study import ArchivedStudy, replayed_journal
from wardround.audit.audit import AuditedRound, StudyAudit, StudyRecords
from wardround.audit.errors import AuditIncomplete
from wardround.audit.finished import FinishedRun, open_run
from wardround.audit.folders import Folders
from wardround.audit.public_audit import public_rounds
from wardround.chain.chain import connected
from wardround.chain.ward_round import WardRound
from wardround.host.key_file import read_key
from wardround.protocol.cid import cid_from_sha256, cid_of
from wardround.protocol.errors import Malformed, ProtocolError, ScenarioError
from wardround.protocol.fixed_point import vector_from_bytes
from wardround.protocol.identifiers import SiteAddress, StudyId, address_of, bytes32, hex_of
from wardround.protocol.manifest import parse_manifest
from wardround.protocol.merkle import vector_root
from wardround.protocol.report import parse_report
from wardround.protocol.rewards import reward_tree
from wardround.protocol.study import parse_specification
from wardround.store import FolderStore, Store
from wardround.store.errors import NotGranted, ObjectSealed
from wardround.store.key_ring import is_ring
from wardround.store.sealing import is_sealed, read_header
from wardround.store.study_store import open_study_store
from wardround_simulations.confidential import READING_KEY
from wardround_simulations.court_commands import powers_of, watch
from wardround_simulations.scenario import Engine, builtin_scenarios, load_scenario
from wardround_simulations.screen import TOKEN, RunProgress, rewards_table, rounds_table

if TYPE_CHECKING:
    from wardround_simulations.run import Watcher

_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)


def simulate(
    scenario: Annotated[
        str, typer.Argument(help="A scenario by name (see `wardround scenarios`), or a TOML file.")
    ] = "demo",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; by default a new one in runs/.")
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(
            help="in-process; ray, Flower's Simulation Runtime; or flwr, the `flwr run` command."
        ),
    ] = "in-process",
    chain: Annotated[
        str, typer.Option(help="embedded, anvil, or the URL of a JSON-RPC endpoint.")
    ] = "embedded",
    chain_id: Annotated[
        int | None, typer.Option(min=1, max=2**53 - 1, help="Accept this chain id only.")
    ] = None,
    funder_key: Annotated[
        Path | None, typer.Option(help="File with a key that pays for gas at the endpoint.")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="WARDROUND_DATA_DIR", help="Folder with your own copies of the data files."
        ),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, max=10**6, help="Instead of the scenario's.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**53 - 1, help="Instead of the scenario's.")
    ] = None,
    confidential: Annotated[
        bool, typer.Option("--confidential", help="Encrypt updates and models in the store.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object, nothing else.")
    ] = False,
) -> None:
    """Simulate hospitals that learn together, with every round on a chain.

    Examples:
      wardround simulate

      wardround simulate four-hospitals --data-dir ~/heart

      wardround simulate attackers --json > summary.json

      wardround simulate demo --engine ray --chain anvil

      wardround simulate demo --confidential
    """
    # PyTorch and Flower take seconds to import, and only this command needs them.
    from wardround_simulations.run import ChainChoice
    from wardround_simulations.run import simulate as run_simulation

    chosen, text = load_scenario(scenario)
    changes = {"rounds": rounds, "seed": seed}
    study = chosen.study.model_copy(update={k: v for k, v in changes.items() if v is not None})
    chosen = chosen.model_copy(update={"study": study})
    folder = out or _new_run_folder(chosen.study.name)
    with _watched(as_json) as watcher:
        results = run_simulation(
            chosen,
            text,
            folder,
            engine=engine,
            choice=ChainChoice(chain, chain_id, funder_key),
            data_dir=data_dir,
            watcher=watcher,
            confidential=confidential,
        )
    if as_json:
        print(json.dumps(results.summary))
        return
    final = results.summary["final"]
    _out.print(rounds_table(results.rounds, chosen.study.name, _out.width))
    _out.print(rewards_table(results.rounds))
    auc = final["pooled_auc"]
    _out.print(
        f"Final model: average accuracy over the sites {final['average_accuracy']:.4f}, "
        f"pooled accuracy {final['pooled_accuracy']:.4f}, "
        f"AUC {'–' if auc is None else f'{auc:.4f}'}, log-loss {final['pooled_log_loss']:.4f}."
    )
    _out.print(f"Study {results.summary['study']}", soft_wrap=True)
    _out.print(
        f"Everything is in {folder}: store, journal, manifests, plots, model.", soft_wrap=True
    )
    key = ""
    if confidential:
        key = f" --reading-key {Folders(folder).auditor / READING_KEY}"
        _out.print(
            "Updates and models are encrypted in its store; the model in the clear is beside the "
            "coordinator's keys.",
            soft_wrap=True,
        )
    _out.print("\nNext:", style="bold")
    program = _program()
    _out.print(
        f"  {program} audit {folder}{key}    replay every round from chain and store alone",
        soft_wrap=True,
    )
    _out.print(f"  {program} claim {folder}    pay the sites what they have earned", soft_wrap=True)
    _out.print(
        f"  {program} explore {folder}  look at it all in a browser, and check it there",
        soft_wrap=True,
    )


def scenarios() -> None:
    """List the scenarios that come with wardround.

    Example:
      wardround scenarios
    """
    table = Table(header_style="bold")
    table.add_column("scenario")
    table.add_column("what happens")
    for name in builtin_scenarios():
        table.add_row(name, load_scenario(name)[0].about)
    _out.print(table)


def audit(
    run_or_study: Annotated[
        str,
        typer.Argument(
            help="Folder of a run; an evidence archive; or a study's id, with --rpc, "
            "--contract and --store."
        ),
    ],
    rpc: Annotated[str | None, typer.Option(help="JSON-RPC endpoint of the chain.")] = None,
    chain_id: Annotated[
        int | None, typer.Option(min=1, max=2**53 - 1, help="Accept this chain id only.")
    ] = None,
    contract: Annotated[str | None, typer.Option(help="Address of the contract.")] = None,
    store: Annotated[str | None, typer.Option(help="Content store.")] = None,
    reading_key: Annotated[
        Path | None,
        typer.Option(help="For a run with an encrypted store: a key that has a grant."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a round.")] = False,
    follow: Annotated[
        bool, typer.Option("--watch", help="Follow a live study until it is over and final.")
    ] = False,
    key: Annotated[
        Path | None,
        typer.Option(help="With --watch: key that signs attestations and pays for what is sent."),
    ] = None,
    challenge: Annotated[
        bool, typer.Option("--challenge", help="With --watch: prove breaches on chain.")
    ] = False,
    answer: Annotated[
        bool, typer.Option("--answer", help="With --watch: show what others demand on chain.")
    ] = False,
    signatures: Annotated[
        Path | None,
        typer.Option(help="With --watch: folder that a quorum of auditors shares."),
    ] = None,
) -> None:
    """Recompute every round from chain and store alone; end with 0 only if all holds.

    Examples:
      wardround audit runs/demo

      wardround audit runs/demo --reading-key runs/demo/auditor/reading.key

      wardround audit evidence.zip

      wardround audit 0x5e1f… --rpc http://127.0.0.1:8545 --contract 0x1234… --store ./store

      wardround audit 0x5e1f… --rpc … --contract … --store … --watch --challenge --key auditor.key
    """
    powers = powers_of(key, challenge, answer, signatures)
    is_run = Path(run_or_study).is_dir() or not run_or_study.startswith("0x")
    if reading_key is not None and (Path(run_or_study).is_file() or not is_run):
        raise typer.BadParameter(
            "--reading-key goes with a run's folder: with --store it is '…&key=FILE' in the address"
        )
    if follow:
        watch(run_or_study, rpc, chain_id, contract, store, reading_key, powers, as_json)
        return
    if key is not None:
        raise typer.BadParameter("--key goes with --watch: add that, or leave the key out")
    if Path(run_or_study).is_file():
        _audit_archive(Path(run_or_study), as_json)
        return
    if is_run:
        with open_run(Path(run_or_study), reading=reading_key) as run:
            if run.replayed is not None and not as_json:
                _out.print(f"journal: {run.replayed} transactions executed again, same results")
            _audit(run.contract, run.study, run.store, as_json)
        return
    if rpc is None or contract is None or store is None:
        raise ScenarioError(
            run_or_study, "a study's id needs --rpc, --contract and --store as well"
        )
    study = StudyId(bytes32(run_or_study, "study"))
    with connected(rpc, chain_id) as opened:
        ward = WardRound(opened, address_of(contract))
        with closing(open_study_store(store, Path(), ward, study)) as objects:
            _audit(ward, study, objects, as_json)


def claim(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    site: Annotated[
        str | None, typer.Argument(help="A site's name or address; by default all of them.")
    ] = None,
) -> None:
    """Pay a site what it has earned up to the last round.

    On a development chain the clock is moved past the challenge window first.

    Examples:
      wardround claim runs/demo cleveland
    """
    with open_run(run, to_append=True) as opened:
        names = {address: name for name, address in opened.file.sites.items()}
        wanted = _sites(opened, site)
        closed = opened.contract.closed_rounds(opened.study)
        if not closed:
            raise ScenarioError(str(run), "no round was closed, so nothing was earned")
        last = closed[-1]
        manifest = _manifest(opened.store, last.closing.record.manifest)
        earned = manifest.earned()
        tree = reward_tree(earned)
        _finalise(opened, last.round, last.closing.closed_at)
        payer = read_key(opened.folders.coordinator / "coordinator.key")
        for address in wanted:
            amount, before = earned.get(address, 0), opened.contract.claimed(opened.study, address)
            name = names.get(address.lower(), address)
            if amount <= before:
                _out.print(f"{name}: nothing due ({before / TOKEN:,.4f} tokens paid before)")
                continue
            opened.contract.claim(
                payer,
                opened.study,
                last.round,
                last.closing,
                address,
                amount,
                tree.proof(address),
            )
            _out.print(f"{name}: paid {(amount - before) / TOKEN:,.4f} tokens to {address}")


def show(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    cid: Annotated[
        str | None, typer.Argument(help="An object's CID; by default a list of all objects.")
    ] = None,
    round_number: Annotated[
        int | None, typer.Option("--round", min=1, help="Show this round's manifest.")
    ] = None,
) -> None:
    """Show an object of a run's store, verified: a manifest, report, vector or specification.

    Examples:
      wardround show runs/demo

      wardround show runs/demo --round 3
    """
    # Asked first, because opening a store makes its folder.
    if not (run / "store").is_dir():
        raise ScenarioError(str(run), "this is not the folder of a run: store is missing")
    store = FolderStore(run / "store")
    if round_number is not None:
        cid = _manifest_cid(run, round_number)
    if cid is not None:
        data = store.get(cid)
        kind, words = _describe(data)
        _out.print(f"{cid}: {kind}, {len(data):,} bytes", soft_wrap=True)
        _out.print(words, markup=False, soft_wrap=True)
        return
    # Plain lines: a CID that a narrow table cuts off names nothing.
    for name in sorted(store.cids()):
        data = store.get(name)
        _out.print(f"{name}  {_describe(data)[0]:<13}  {len(data):>9,}", soft_wrap=True)


def verify_file(
    file: Annotated[Path, typer.Argument(help="Any file.")],
) -> None:
    """Print a file's CID and, for a vector, its Merkle root, as the chain and IPFS name it.

    Example:
      wardround verify-file runs/demo/model.safetensors
    """
    if not file.is_file():
        raise Malformed(str(file), "there is no such file")
    data = file.read_bytes()
    _out.print(f"cid   {cid_of(data)}", soft_wrap=True)
    _out.print(f"root  {hex_of(vector_root(data))}", soft_wrap=True)


@contextmanager
def _watched(quiet: bool) -> Iterator[Watcher]:
    """Show progress on standard error, so that standard output holds results alone."""
    from wardround_simulations.run import Watcher

    if quiet or not _err.is_terminal:
        say = (lambda words: None) if quiet else (lambda words: _err.print(f"… {words}"))
        yield Watcher(say=say)
        return
    bars: list[RunProgress] = []
    status = _err.status("preparing")
    status.start()

    def start(network: Any) -> None:
        status.stop()
        bars.append(RunProgress(_err, network.params.rounds, len(network.parties)))
        bars[0].__enter__()

    try:
        yield Watcher(
            say=lambda words: status.update(words),
            on_start=start,
            on_reply=lambda *reply: bars[0].reply(*reply),
            on_round=lambda summary: bars[0].closed(summary),
        )
    finally:
        status.stop()
        if bars:
            bars[0].__exit__(None, None, None)


def _program() -> str:
    """How to call this program from here: by name, or by its place in an environment."""
    if shutil.which("wardround") is not None or "/" not in sys.argv[0]:
        return "wardround"
    return os.path.relpath(sys.argv[0])


def _new_run_folder(name: str) -> Path:
    for number in range(1, 10_000):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            return folder
    raise ScenarioError(name, "runs/ is full: remove some, or name a folder with --out")


def _audit_archive(path: Path, as_json: bool) -> None:
    with Archive(path) as archive:
        described, archived = archive.description, ArchivedStudy(archive)
        study, rounds = archived.study, (described.first_round, described.last_round)
        if not as_json:
            _out.print(
                f"archive: chain {described.chain_id}, contract {described.contract}, "
                f"blocks {described.first_block} to {described.last_block}",
                soft_wrap=True,
            )
            _out.print(
                f"{len(archived.transactions)} transactions, {archived.signed} as they were "
                f"signed; {archived.blocks} block hashes and receipt roots recomputed",
                soft_wrap=True,
            )
        store = ArchiveStore(archive)
        if JOURNAL not in archive.names:
            _audit(archived, study, store, as_json, *rounds)
            if not as_json:
                _out.print(
                    "Not to be known offline: whether these blocks are the chain's. "
                    f"Ask a node for block {described.last_block}: {described.last_hash}",
                    soft_wrap=True,
                )
            return
        with replayed_journal(archive) as chain:
            archived.require_in(chain)
            if not as_json:
                _out.print("journal: executed again, same results; it holds every transaction")
            _audit(WardRound(chain, described.contract), study, store, as_json, *rounds)


def _audit(
    contract: StudyRecords,
    study: StudyId,
    store: Store,
    as_json: bool,
    first: int = 1,
    last: int | None = None,
) -> None:
    work = StudyAudit(contract, study, store, first, last)
    if not as_json:
        _out.print(f"study {hex_of(study)}", soft_wrap=True)
        _out.print(f"specification: digest on chain, {len(work.closed)} closed rounds")
        if first > 1:
            _out.print(f"rounds before {first} are taken as they were recorded")
    try:
        for audited in work.rounds():
            if as_json:
                print(json.dumps(_audited(audited)))
            else:
                _out.print(_sentence(audited), soft_wrap=True)
    except (ObjectSealed, NotGranted) as sealed:
        # Not the end of it: what is public can be checked all the same.
        if not as_json:
            _out.print(
                "Its store is encrypted, and no key to all of it is here: checked is what is "
                "public, signatures, reports, weights, roots and the rewards tree.",
                soft_wrap=True,
            )
        raise AuditIncomplete(_audit_public(work, as_json)) from sealed
    objects = work.check_objects()
    if not as_json:
        _out.print(f"store: {objects} objects have the bytes that their names say")
        _out.print("All holds.", style="bold green")


def _audit_public(work: StudyAudit, as_json: bool) -> int:
    """Check what is public, name what could not be read, and count it."""
    count = 0
    for public in public_rounds(work):
        count += len(public.unread)
        number, entries = public.closed.round, public.closed.closing.record.count
        if as_json:
            print(json.dumps({"round": number, "public_holds": True, "unread": public.unread}))
            continue
        _out.print(
            f"round {number}: {entries} signatures and reports verified, roots and rewards tree "
            f"as recorded; {len(public.unread)} vectors not read",
            soft_wrap=True,
        )
        for name in public.unread:
            _out.print(f"  encrypted, and no grant: {name}", soft_wrap=True)
    return count


def _audited(audited: AuditedRound) -> dict[str, Any]:
    return {
        "round": audited.closed.round,
        "model": hex_of(audited.settlement.model.root),
        "contributions": audited.settlement.record.count,
        "rewards": hex_of(audited.settlement.record.rewards),
        "holds": True,
    }


def _sentence(audited: AuditedRound) -> str:
    settled = audited.settlement
    return (
        f"round {audited.closed.round}: {settled.record.count} signatures and updates verified, "
        f"{settled.manifest.rule.name} recomputed, model {hex_of(settled.model.root)[:18]}… equal, "
        f"rewards of {sum(settled.shares.values()) / TOKEN:,.2f} tokens equal"
    )


def _sites(opened: FinishedRun, wanted: str | None) -> list[SiteAddress]:
    sites = opened.file.sites
    if wanted is None:
        return [address_of(address) for _, address in sorted(sites.items())]
    if wanted in sites:
        return [address_of(sites[wanted])]
    if wanted.lower() in sites.values():
        return [address_of(wanted)]
    raise ScenarioError(
        str(opened.folders.root), f"no site is called {wanted!r}: there are {', '.join(sites)}"
    )


def _finalise(opened: FinishedRun, round_number: int, closed_at: int) -> None:
    closed = opened.contract.closed_rounds(opened.study)[round_number - 1]
    if opened.contract.is_final(opened.study, round_number, closed.closing):
        return
    window = opened.contract.study(opened.study).challenge_seconds
    if opened.replayed is None:
        raise ScenarioError(
            str(opened.folders.root),
            f"round {round_number} is not final before {closed_at + window}",
        )
    opened.chain.advance(window)
    _out.print(f"development chain: clock moved on by {window:,} s, past the challenge window")


def _manifest(store: Store, digest: bytes) -> Any:
    return parse_manifest(store.get(cid_from_sha256(digest)))


def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _manifest_cid(run: Path, round_number: int) -> str:
    with open_run(run) as opened:
        for closed in opened.contract.closed_rounds(opened.study):
            if closed.round == round_number:
                return cid_from_sha256(closed.closing.record.manifest)
    raise ScenarioError(str(run), f"round {round_number} was not closed")


def _describe(data: bytes) -> tuple[str, str]:
    """Tell what an object is by reading it as each kind in turn."""
    if is_sealed(data):
        header = read_header(memoryview(data))
        words = f"the content {header.cid}, {header.size:,} bytes, with the key of epoch"
        return "encrypted", f"{words} {header.epoch}"
    if is_ring(data):
        return "key ring", data.decode()
    for kind, parse in (("manifest", parse_manifest), ("report", parse_report)):
        try:
            value = parse(data)
        except ProtocolError:
            continue
        return kind, json.dumps(value.model_dump(mode="json", by_alias=True), indent=1)
    try:
        return "specification", json.dumps(parse_specification(data).document(), indent=1)
    except ProtocolError:
        pass
    if len(data) % 4:
        return "unknown", f"first bytes {data[:32].hex()}"
    vector = vector_from_bytes(data, len(data) // 4)
    head = ", ".join(str(value) for value in vector[:8].tolist())
    return "vector", f"{vector.size:,} coordinates, root {hex_of(vector_root(data))}\n{head}, …"

"""Commands of auditors and readers, and the claim that any account may send for a site."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from eth_account.signers.local import LocalAccount

from wardround.audit.auditing import Depth, audit_archive, audit_run, audit_study
from wardround.audit.auditor import Auditor, start_watching
from wardround.audit.claims import claim_for, claimable, rounds_in_words
from wardround.audit.earlier import ATTESTED, earlier_rounds
from wardround.audit.findings import Findings
from wardround.audit.finished import FinishedRun, open_run, read_network, run_store
from wardround.audit.folders import Folders
from wardround.audit.notices import Notice, Powers
from wardround.audit.replayers import MAX_JOBS
from wardround.audit.result_commands import keep_result
from wardround.audit.signatures import SignatureFolder
from wardround.chain.amounts import tokens_of
from wardround.chain.options import (
    ChainIdOption,
    JsonOption,
    print_sent,
    study_of,
)
from wardround.chain.ward_round import WardRound
from wardround.host.key_file import read_key
from wardround.host.screen import Screen
from wardround.protocol.cid import cid_from_sha256, cid_of
from wardround.protocol.errors import ProtocolError, SpecificationError
from wardround.protocol.fixed_point import vector_from_bytes
from wardround.protocol.identifiers import SiteAddress, StudyId, address_of, hex_of
from wardround.protocol.manifest import parse_manifest
from wardround.protocol.merkle import vector_root
from wardround.protocol.report import parse_report
from wardround.protocol.study import parse_specification
from wardround.store import FolderStore, Store
from wardround.store.key_ring import is_ring
from wardround.store.sealing import is_sealed, read_header
from wardround.store.study_store import open_study_store

_out = Screen(highlight=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where a study is that is named by its id; a run's folder has all of it."""

    chain: Annotated[
        str | None, typer.Option("--rpc", "--chain", help="JSON-RPC endpoint of the chain.")
    ] = None
    chain_id: ChainIdOption = None
    contract: Annotated[str | None, typer.Option(help="Address of the contract.")] = None
    store: Annotated[str | None, typer.Option(help="Content store.")] = None

    def leave_to(self, found: str) -> None:
        """Check that nothing is named besides a folder or archive that has all of it.

        Raises:
            SpecificationError: chain, contract or store is.
        """
        if (self.chain, self.chain_id, self.contract, self.store) != (None,) * 4:
            reason = "it has all of it: leave --rpc, --chain-id, --contract and --store out"
            raise SpecificationError(found, reason)

    @contextmanager
    def opened(self, study: str) -> Iterator[tuple[WardRound, StudyId, Store]]:
        """Open a study by its id.

        Raises:
            SpecificationError: chain, contract or store is not named.
            Malformed: the id or the address is none.
        """
        if self.chain is None or self.contract is None or self.store is None:
            raise SpecificationError(
                study, "a study's id needs --rpc, --contract and --store as well"
            )
        identity = study_of(study)
        with (
            WardRound.at(self.chain, self.chain_id, self.contract) as ward,
            closing(open_study_store(self.store, Path(), ward, identity)) as objects,
        ):
            yield ward, identity, objects


def audit(
    run_or_study: Annotated[
        str,
        typer.Argument(
            help="Folder of a run; an evidence archive; or a study's id, with --rpc, "
            "--contract and --store."
        ),
    ],
    where: Where,
    reading_key: Annotated[
        Path | None, typer.Option(help="For a run with an encrypted store: a key that has a grant.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a finding.")] = False,
    follow: Annotated[
        bool, typer.Option("--watch", help="Follow a live study until it is over and final.")
    ] = False,
    key: Annotated[
        Path | None,
        typer.Option(
            help="With --watch: key that signs attestations and pays for what is sent. "
            "With --sign: key that signs the result."
        ),
    ] = None,
    challenge: Annotated[
        bool, typer.Option("--challenge", help="With --watch: prove breaches and demand data.")
    ] = False,
    answer: Annotated[
        bool, typer.Option("--answer", help="With --watch: show what others demand on chain.")
    ] = False,
    signatures: Annotated[
        Path | None, typer.Option(help="With --watch: folder that a quorum of auditors shares.")
    ] = None,
    run_study_code: Annotated[
        bool,
        typer.Option(
            "--run-study-code",
            help="Build the first model again too, which runs the study's own files, if it has "
            "any: in a sandbox, where this machine offers one.",
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_JOBS,
            help="How many processes share the rounds; by default one a core, at most one a round.",
        ),
    ] = None,
    earlier: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Recompute later rounds alone: a result that an auditor signed, or 'attested' for "
            "what auditors have attested on chain.",
        ),
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            help="With --from: an address whose result is relied on, beside the study's auditors."
        ),
    ] = None,
    sign: Annotated[
        bool, typer.Option("--sign", help="Sign the result with --key, for others.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="With --sign: file that the result is written to.")
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="With --sign: keep the result in the store.")
    ] = False,
) -> None:
    """Recompute every round from chain and store alone; end with 0 only if all holds.

    Examples:
      wardround audit runs/demo

      wardround audit runs/demo --reading-key runs/demo/auditor/reading.key

      wardround audit evidence.zip

      wardround audit 0x5e1f… --rpc http://127.0.0.1:8545 --contract 0x1234… --store ./store

      wardround audit 0x5e1f… --rpc … --contract … --store … --watch --challenge --key auditor.key

      wardround audit runs/demo --sign --key auditor.key --output result.json

      wardround audit runs/demo --from result.json --trust 0x5e1f…
    """
    if key is None and (challenge or answer or signatures is not None):
        raise typer.BadParameter(
            "--challenge, --answer and --signatures send or sign something: add --key FILE"
        )
    if run_study_code and follow:
        raise typer.BadParameter("--run-study-code does not go with --watch: audit once more after")
    if jobs is not None and follow:
        raise typer.BadParameter("--jobs does not go with --watch: rounds are closed one by one")
    path = Path(run_or_study)
    if key is not None and not follow and not sign:
        raise typer.BadParameter("--key goes with --watch or --sign: add one, or leave it out")
    if follow or path.is_file():
        where_not = "--watch" if follow else "an archive"
        for name, is_given in (("--sign", sign), ("--from", earlier is not None)):
            if is_given:
                raise typer.BadParameter(f"{name} does not go with {where_not}")
    if sign and (key is None or (output is None and not publish)):
        raise typer.BadParameter("--sign needs --key FILE, and --output FILE or --publish")
    if not sign and (output is not None or publish):
        raise typer.BadParameter(
            "--output and --publish go with --sign: what is not signed is not kept"
        )
    if output is not None and not output.absolute().parent.is_dir():
        raise typer.BadParameter(f"--output {output}: there is no such folder")
    if trust and (earlier is None or earlier == ATTESTED):
        raise typer.BadParameter("--trust goes with --from FILE")
    trusted = [address_of(one).lower() for one in trust or ()]
    signer = read_key(key) if sign and key is not None else None
    if reading_key is not None and (path.is_file() or not _is_run(run_or_study)):
        raise typer.BadParameter(
            "--reading-key goes with a run's folder: with --store it is '…&key=FILE' in the address"
        )
    if path.is_file() or _is_run(run_or_study):
        where.leave_to(run_or_study)
    findings, depth = Findings(as_json), Depth(jobs=jobs, run_study_code=run_study_code)
    if path.is_file() and not follow:
        audit_archive(path, findings, depth)
        return
    if follow:
        powers = Powers(
            key=None if key is None else read_key(key),
            challenge=challenge,
            answer=answer,
            signatures=None if signatures is None else SignatureFolder(signatures),
        )
        with _live(run_or_study, where, reading_key) as (ward, study, objects):
            check_powers(ward, study, powers)
            tell = partial(print_notice, as_json=as_json)
            auditor = start_watching(lambda: Auditor(ward, study, objects, powers), tell)
            auditor.watch(tell)
        if auditor.breaches:
            raise typer.Exit(1)
        if not as_json:
            _out.print("The study is over and final, and all holds.", style="bold green")
    elif _is_run(run_or_study):
        with open_run(path, reading=reading_key) as run:
            if earlier is not None:
                found = earlier_rounds(earlier, trusted, run.contract, run.study)
                depth = replace(depth, earlier=found)
            work = audit_run(run, findings, depth)
            if signer is not None:
                keep_result(work, findings, signer, output, publish=publish)
    else:
        with where.opened(run_or_study) as (ward, study, objects):
            if earlier is not None:
                depth = replace(depth, earlier=earlier_rounds(earlier, trusted, ward, study))
            work = audit_study(ward, study, objects, findings, depth)
            if signer is not None:
                keep_result(work, findings, signer, output, publish=publish)


def claim(
    run_or_study: Annotated[
        str,
        typer.Argument(
            help="Folder of a run; or a study's id, with --chain, --contract, --store and --key."
        ),
    ],
    where: Where,
    site: Annotated[
        str | None,
        typer.Argument(help="A site's address, or its name in the run; by default all of them."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="File with a key that pays for gas; a run's coordinator by default."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Pay a site what it has earned in final rounds and was not paid yet.

    Any account may send it: the money goes to the payout address that the sponsor registered. On
    a run's own development chain the clock is moved past the challenge window first.

    Examples:
      wardround claim runs/demo cleveland

      wardround claim 0x5e1f… 0xabcd… --chain http://127.0.0.1:8545 --contract 0x1234…
      --store ./store --key any.key
    """
    if _is_run(run_or_study):
        where.leave_to(run_or_study)
        with open_run(Path(run_or_study), to_append=True) as run:
            sites = _sites_of(run, site)
            _past_window(run, as_json)
            payer = read_key(key or run.folders.coordinator / "coordinator.key")
            _claim(run.contract, payer, run.study, run.store, sites, as_json)
        return
    if key is None:
        raise SpecificationError(run_or_study, "a study's id needs --key as well: it pays for gas")
    wanted = {} if site is None else {address_of(site): address_of(site)}
    with where.opened(run_or_study) as (ward, study, objects):
        _claim(ward, read_key(key), study, objects, wanted, as_json)


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
    if cid is not None and round_number is not None:
        raise typer.BadParameter("--round names a round's manifest: leave it or the CID out")
    # Asked first, because opening a store makes its folder.
    if not (run / "store").is_dir():
        raise SpecificationError(run, "this is not the folder of a run: store is missing")
    store = FolderStore(run / "store")
    if round_number is not None:
        with open_run(run) as opened:
            rounds = dict(opened.contract.closings(opened.study))
        if round_number not in rounds:
            raise SpecificationError(run, f"round {round_number} was not closed")
        cid = cid_from_sha256(rounds[round_number].record.manifest)
    if cid is not None:
        data = store.get(cid)
        kind, words = _describe(data)
        _out.print(f"{cid}: {kind}, {len(data):,} bytes")
        _out.print(words, markup=False)
        return
    # Plain lines: a CID that a narrow table cuts off names nothing.
    for name in sorted(store.cids()):
        data = store.get(name)
        _out.print(f"{name}  {_describe(data)[0]:<13}  {len(data):>9,}")


def verify_file(file: Annotated[Path, typer.Argument(help="Any file.")]) -> None:
    """Print a file's CID and, for a vector, its Merkle root, as the chain and IPFS name it.

    Example:
      wardround verify-file runs/demo/store/bafkrei…
    """
    if not file.is_file():
        raise SpecificationError(file, "there is no such file")
    data = file.read_bytes()
    _out.print(f"cid   {cid_of(data)}")
    _out.print(f"root  {hex_of(vector_root(data))}")


# ---------------------------------------------------------------- where a study is


@contextmanager
def _live(
    run_or_study: str, where: Where, reading_key: Path | None
) -> Iterator[tuple[WardRound, StudyId, Store]]:
    """Open a study on a chain that still runs, by its id or its run's folder."""
    if not _is_run(run_or_study):
        with where.opened(run_or_study) as found:
            yield found
        return
    folder = Path(run_or_study)
    file = read_network(folder)
    if not file.chain.startswith(("http", "ipc")):
        raise SpecificationError(
            run_or_study, "its chain ended with the run: audit it without --watch"
        )
    study = study_of(file.study)
    with (
        WardRound.at(file.chain, file.chain_id, file.contract) as ward,
        closing(run_store(Folders(folder), ward, study, file.grants, reading_key)) as objects,
    ):
        yield ward, study, objects


def check_powers(ward: WardRound, study: StudyId, powers: Powers) -> None:
    """Check that the study has a use for a key and a shared folder that an auditor is given.

    Raises:
        SpecificationError: the key is no auditor's where it does nothing else, or one attestation
            is the quorum.
    """
    elsewhere, key = powers.elsewhere, powers.key
    account = elsewhere.auditor if elsewhere else None if key is None else str(key.address)
    if account is None:
        return
    attests = ward.is_auditor(study, account)
    if not attests and (elsewhere or not (powers.challenge or powers.answer)):
        raise SpecificationError(account, "it is no auditor's of this study")
    if powers.signatures is None:
        return
    if not attests or ward.study(study).auditor_quorum <= 1:
        reason = "there is nothing to share: the study needs no second auditor's signature"
        raise SpecificationError("--signatures", reason)


def _is_run(run_or_study: str) -> bool:
    return Path(run_or_study).is_dir() or not run_or_study.startswith("0x")


# ---------------------------------------------------------------- watch


def print_notice(notice: Notice, as_json: bool) -> None:
    """Print what an auditor saw or did."""
    if as_json:
        print(json.dumps(asdict(notice)), flush=True)
        return
    style = {"breach": "bold red", "refused": "red", "overturned": "yellow"}.get(notice.kind, "")
    gas = "" if notice.gas is None else f" ({notice.gas:,} gas)"
    _out.show(f"round {notice.round}: {notice.kind}: {notice.words}{gas}", style=style)


# ---------------------------------------------------------------- claim


def _sites_of(run: FinishedRun, wanted: str | None) -> dict[SiteAddress, str]:
    """A run's sites, or the one that is named; names by address."""
    names = {address_of(address): name for name, address in sorted(run.file.sites.items())}
    found = {
        address: name
        for address, name in names.items()
        if wanted is None or wanted in (name, address, address.lower())
    }
    if not found:
        reason = f"no site is called {wanted!r}: there are {', '.join(names.values())}"
        raise SpecificationError(run.folders.root, reason)
    return found


def _past_window(run: FinishedRun, quiet: bool) -> None:
    """Move the clock of a run's own chain past the challenge window of its last round."""
    closings = run.contract.closings(run.study)
    if run.replayed is None or not closings or run.contract.is_final(run.study, *closings[-1]):
        return
    window = run.contract.study(run.study).challenge_seconds
    run.chain.advance(window)
    if not quiet:
        _out.print(f"development chain: clock moved on by {window:,} s, past the challenge window")


def _claim(
    ward: WardRound,
    payer: LocalAccount,
    study: StudyId,
    store: Store,
    sites: Mapping[SiteAddress, str],
    as_json: bool,
) -> None:
    found, decimals = claimable(ward, study, store), ward.decimals(study)
    for site in sites or found.sites():
        name, total = sites.get(site, site), 0
        for payment in claim_for(ward, payer, study, found, site):
            total += payment.amount
            words = (
                f"{name}: paid {tokens_of(payment.amount, decimals)} tokens to "
                f"{payment.payout} for "
                f"{rounds_in_words(list(payment.amounts))}"
            )
            if as_json or name == site:
                facts = {"site": site, "rounds": list(payment.amounts)}
                paid = str(payment.amount)
                print_sent(payment.receipt, words, as_json=as_json, **facts, paid=paid)
            else:
                # It is a run's own chain, whose journal has the transaction.
                _out.print(words)
        if not total:
            before = tokens_of(ward.claimed(study, site), decimals)
            words = f"{name}: nothing due ({before} tokens paid before)"
            if not ward.site(study, site).since:
                words = f"{name}: nothing due: the study never admitted this site"
            if as_json:
                print_sent(None, words, as_json=True, site=site, rounds=[], paid="0")
            else:
                _out.print(words)
    for words in found.left_out() if not as_json else ():
        _out.show(words)


# ---------------------------------------------------------------- show


def _describe(data: bytes) -> tuple[str, str]:
    """Name an object's kind by reading it as each in turn, and put it into words."""
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
    text = data.decode("utf-8", "replace")
    if all(char.isprintable() or char in "\t\r\n" for char in text) and "\ufffd" not in text:
        return "text", text
    if len(data) % 4:
        return "unknown", f"first bytes {data[:32].hex()}"
    vector = vector_from_bytes(data, len(data) // 4)
    head = ", ".join(str(value) for value in vector[:8].tolist())
    return "vector", f"{vector.size:,} coordinates, root {hex_of(vector_root(data))}\n{head}, …"

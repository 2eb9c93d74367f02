"""Keep what an audit found as a signed result, and check such a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from eth_account.signers.local import LocalAccount

from wardround.audit.audit import StudyAudit
from wardround.audit.claims import rounds_in_words
from wardround.audit.findings import Findings
from wardround.audit.finished import open_run
from wardround.audit.result import SignedResult, check_closings, read_result, sign_result
from wardround.chain.options import JsonOption
from wardround.chain.ward_round import WardRound
from wardround.host.durable import write_durably
from wardround.host.screen import Screen
from wardround.protocol.cid import cid_of
from wardround.protocol.identifiers import StudyId, address_of, bytes32, hex_of

_out = Screen(highlight=False, soft_wrap=True)


def verify_result(
    file: Annotated[Path, typer.Argument(help="A result that wardround audit has signed.")],
    run: Annotated[
        Path | None, typer.Argument(help="Folder of the run that it is about, to compare with.")
    ] = None,
    chain: Annotated[
        str | None,
        typer.Option("--rpc", "--chain", help="JSON-RPC endpoint of its chain, to compare with."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check who signed an audit's result, and that its rounds are still the chain's.

    Examples:
      wardround verify-result result.json

      wardround verify-result result.json --rpc http://127.0.0.1:8545
    """
    if run is not None and chain is not None:
        raise typer.BadParameter("a run's folder has its chain: leave --rpc out")
    signed = read_result(file)
    if run is not None:
        with open_run(run) as opened:
            _show_result(file, signed, opened.contract, as_json)
    elif chain is not None:
        result = signed.result
        with WardRound.at(chain, result.chain_id, result.contract) as ward:
            _show_result(file, signed, ward, as_json)
    else:
        _show_result(file, signed, None, as_json)


def keep_result(
    work: StudyAudit,
    findings: Findings,
    auditor: LocalAccount,
    output: Path | None,
    *,
    publish: bool,
) -> None:
    """Sign what was found, and write or publish it."""
    closed = [*work.earlier, *work.closed]
    signed = sign_result(work.facts, closed, findings.documents, auditor)
    data = signed.encode()
    if output is not None:
        write_durably(output, data)
    cid = work.store.put_public(data) if publish else None
    places = [str(output)] if output is not None else []
    places += [] if cid is None else [f"in the store as {cid}"]
    findings.show(
        "result",
        f"result: signed by {signed.auditor}: {', '.join(places)}",
        auditor=signed.auditor,
        result=hex_of(signed.result.digest),
        file=None if output is None else str(output),
        cid=cid,
    )


def _show_result(file: Path, signed: SignedResult, ward: WardRound | None, as_json: bool) -> None:
    result, is_auditor = signed.result, None
    study = StudyId(bytes32(result.study, "study"))
    if ward is not None:
        check_closings(file, result, ward.facts(study), ward.closed_rounds(study))
        is_auditor = ward.is_auditor(study, address_of(signed.auditor))
    if as_json:
        facts = {"auditor": signed.auditor, "is_auditor": is_auditor}
        known = {"result": hex_of(result.digest), "cid": cid_of(signed.encode())}
        print(json.dumps({**facts, **known, **result.model_dump(mode="json")}))
        return
    _out.show(f"{file}: signed by {signed.auditor} with {result.software}")
    _out.show(f"study {result.study} of {result.contract} on chain {result.chain_id}")
    _out.show(
        f"{rounds_in_words(range(1, len(result.closings) + 1))}: all holds, by these findings:"
    )
    for finding in result.findings:
        words = finding.get("words")
        for line in words if isinstance(words, list) else ():
            _out.show(f"  {line}")
    if is_auditor is None:
        _out.print("Not compared with a chain: name a run's folder, or an endpoint (--rpc URL).")
        return
    role = "is an auditor" if is_auditor else "is no auditor"
    _out.show(f"The closings are the chain's; {signed.auditor} {role} of the study.")

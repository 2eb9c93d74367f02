"""What a site's commands tell its administrator: its table, and where its studies stand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from wardround.chain.chain import connected
from wardround.chain.errors import ChainUnreachable, ContractReverted
from wardround.chain.ward_round import WardRound
from wardround.protocol.errors import WardroundError
from wardround.protocol.identifiers import SiteAddress, StudyId, bytes32, hex_of
from wardround_client.errors import GuardUnreachable
from wardround_client.guard.approvals import Approvals
from wardround_client.guard.client import GuardClient
from wardround_client.guard.requests import Identified
from wardround_client.home import Home
from wardround_client.keystore import keystore_address
from wardround_client.settings import HomeSettings, PreparedTables
from wardround_client.sources.base import Place

_STATUS_SECONDS = 5.0


def open_home(folder: Path) -> tuple[Home, HomeSettings, SiteAddress]:
    """Open a site's home: its files, settings and address."""
    home = Home(folder)
    settings = home.settings()
    return home, settings, keystore_address(home.keystore(settings))


def study_of(text: str) -> StudyId:
    """Read a study's id."""
    return StudyId(bytes32(text, "study's id"))


def previewed(home: Home, settings: HomeSettings) -> list[str]:
    """Read the site's table, and tell of counts and ranges."""
    from wardround_client.guard.tables import load_home_data
    from wardround_client.sources.preview import preview as preview_source
    from wardround_client.sources.preview import rounded

    data = settings.data
    if not isinstance(data, PreparedTables):
        return list(preview_source(data, Place(home.folder, os.environ)).lines())
    loaded = load_home_data(home.folder, settings, os.environ)
    lines = []
    for what, table in (("training", loaded.train), ("test", loaded.test)):
        count = rounded(len(table))
        told = "fewer than 5" if count is None else f"about {count}"
        lines.append(f"{data.name}: {told} {what} rows of shape {table.features.shape[1:]}")
    return lines


def standing(home: Home, settings: HomeSettings, address: SiteAddress) -> dict[str, Any]:
    """Who the site is, whether guard and chain answer, and where its studies are."""
    try:
        GuardClient(home.socket, _STATUS_SECONDS).ask(Identified, {"ask": "identity"})
        running = "answers"
    except GuardUnreachable as error:
        running = f"not running ({error.reason})"
    approvals = Approvals(home.approvals, address)
    studies: list[dict[str, Any]] = []
    try:
        with connected(settings.chain.url, settings.chain.chain_id) as opened:
            reached = f"{opened.url}, chain {opened.chain_id}, block {opened.block().number}"
            ward = WardRound(opened, settings.chain.contract)
            for study in approvals.studies():
                studies.append(_study_status(approvals, ward, study, address))
    except ChainUnreachable as error:
        reached = str(error)
        studies = [_study_status(approvals, None, study, address) for study in approvals.studies()]
    return {
        "name": settings.site.name,
        "address": address,
        "guard": running,
        "chain": reached,
        "table": settings.data.name,
        "studies": studies,
    }


def _study_status(
    approvals: Approvals, ward: WardRound | None, study: StudyId, site: SiteAddress
) -> dict[str, Any]:
    found: dict[str, Any] = {"study": hex_of(study), "name": "?", "open_round": None}
    try:
        found["name"] = approvals.of(study).spec.study.name
    except WardroundError as error:
        return {**found, "state": str(error)}
    if ward is None:
        return {**found, "state": "approved"}
    slot = ward.site(study, site)
    try:
        opened = ward.open_round(study)
    except ContractReverted as error:
        over = "it is over" if error.name.endswith("StudyOver") else error.name
        return {**found, "state": f"approved; {over}; paid {tokens_of(ward.claimed(study, site))}"}
    member = f"weight up to {slot.max_weight:,}" if slot.is_member(opened.round) else "NOT admitted"
    return {
        **found,
        "open_round": opened.round,
        "state": f"approved; round {opened.round} is open; {member}; "
        f"paid {tokens_of(ward.claimed(study, site))}",
    }


def tokens_of(amount: int) -> str:
    """Write an amount for people."""
    from wardround_client.site_approval import tokens

    return tokens(amount)

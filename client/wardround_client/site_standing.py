"""What a site's commands tell its administrator: its table, and where its studies stand."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.chain.amounts import tokens_of
from wardround.chain.errors import ChainUnreachable, ContractReverted
from wardround.chain.ward_round import WardRound
from wardround.protocol.errors import SpecificationError, WardroundError
from wardround.protocol.identifiers import SiteAddress, StudyId, hex_of
from wardround.protocol.study import StudySpec
from wardround_client.errors import GuardUnreachable, Refusal
from wardround_client.guard.approvals import Approvals
from wardround_client.guard.client import GuardClient
from wardround_client.guard.noise_secrets import KeptSecrets, erase_final
from wardround_client.guard.policy import approved_policy, changes
from wardround_client.home import Home
from wardround_client.keystore import keystore_address
from wardround_client.settings import HomeSettings, PreparedTables
from wardround_client.site_account import SiteAccount
from wardround_client.sources.base import Place

_STATUS_SECONDS = 5.0


@dataclass(frozen=True)
class OpenSite:
    """A site as its administrator works on it."""

    home: Home
    settings: HomeSettings
    keystore: Path
    address: SiteAddress

    def contract(self) -> AbstractContextManager[WardRound]:
        """Open the contract that the site believes."""
        chain = self.settings.chain
        return WardRound.at(chain.url, chain.chain_id, chain.contract)


def open_site(folder: Path) -> OpenSite:
    """Read the settings and the address of a site.

    Raises:
        SpecificationError: there is no site in the folder, or its settings cannot be used.
        KeystoreError: its keystore is missing or damaged.
    """
    home = Home(folder)
    settings = home.settings()
    keystore = home.keystore(settings)
    return OpenSite(home, settings, keystore, keystore_address(keystore))


def previewed(site: OpenSite) -> list[str]:
    """Read the site's table, and tell of counts and ranges."""
    from wardround_client.guard.measuring import too_few
    from wardround_client.guard.tables import load_home_data
    from wardround_client.sources.preview import about
    from wardround_client.sources.preview import preview as preview_source

    data, folder = site.settings.data, site.home.folder
    loaded = load_home_data(folder, site.settings, os.environ)
    if isinstance(data, PreparedTables):
        lines = [
            f"{data.name}: {about(len(table))} {what} rows of shape {table.features.shape[1:]}"
            for what, table in (("training", loaded.train), ("test", loaded.test))
        ]
    else:
        lines = preview_source(data, Place(folder, os.environ))
    if reason := too_few(loaded.test, site.settings.policy):
        lines.append(f"  no model would be measured: {reason}")
    return lines


def standing(site: OpenSite) -> dict[str, Any]:
    """Who the site is, whether guard and chain answer, and where its studies are.

    Secrets of noise in rounds that are final by now are erased.
    """
    try:
        GuardClient(site.home.socket, _STATUS_SECONDS).identify()
        running = "answers"
    except GuardUnreachable as error:
        # A guard that ended, or was never started, leaves no socket: no reason to look for.
        started = site.home.socket.exists()
        running = f"not running ({error.reason})" if started else "not running"
    approvals = Approvals(site.home.approvals, site.address)
    privacy, known = _privacy(site, approvals)
    try:
        with site.contract() as ward:
            chain = ward.chain
            reached = f"{chain.url}, chain {chain.chain_id}, block {chain.block().number}"
            studies = [_study_status(approvals, ward, study, site.address) for study in known]
            # A study's last rounds are final only after its guard has ended.
            erase_final(KeptSecrets(site.home.noise), ward)
    except ChainUnreachable as error:
        reached = str(error)
        studies = [_study_status(approvals, None, study, site.address) for study in known]
    return {
        "name": site.settings.site.name,
        "address": site.address,
        "guard": running,
        "chain": reached,
        "table": site.settings.data.name,
        "sandbox": _sandbox(site),
        "privacy": privacy,
        "unsigned": _unsigned(site),
        "studies": [
            {**one, "privacy": words} for one, words in zip(studies, known.values(), strict=True)
        ],
    }


def _sandbox(site: OpenSite) -> str:
    """Name the walls that the policy in force asks for, whatever ``site.toml`` asks for by now."""
    from wardround_client.trainer.start import sandbox_words

    try:
        return sandbox_words(site.home.settings_in_force(site.address).policy)
    except SpecificationError as error:
        return str(error)


def _unsigned(site: OpenSite) -> list[str]:
    """How ``site.toml`` differs from what is in force, a line for each key."""
    try:
        return changes(approved_policy(site.home.policy, site.address), site.settings.terms)
    except SpecificationError:
        return []  # the account tells why


def _privacy(site: OpenSite, approvals: Approvals) -> tuple[str, dict[StudyId, str | None]]:
    """What was spent, in all and in each study that is approved or was; None for an unknown sum."""
    approved = approvals.studies()
    try:
        account = SiteAccount(site.home, site.address)
        studies = sorted({*approved, *account.studies})
        each = {one: account.of_study(one, _spec_of(approvals, one)) for one in studies}
        return account.of_site(), {**each}
    except WardroundError as error:
        return str(error), dict.fromkeys(approved)


def _spec_of(approvals: Approvals, study: StudyId) -> StudySpec | None:
    try:
        return approvals.of(study).spec
    except Refusal:
        return None


def _study_status(
    approvals: Approvals, ward: WardRound | None, study: StudyId, site: SiteAddress
) -> dict[str, Any]:
    found: dict[str, Any] = {"study": hex_of(study), "name": "?", "open_round": None}
    try:
        found["name"] = approvals.of(study).spec.study.name
    except Refusal as error:
        known = error.name != "study-not-approved"
        return {**found, "state": str(error) if known else "not approved any more"}
    if ward is None:
        return {**found, "state": "approved"}
    slot = ward.site(study, site)
    paid = f"paid {tokens_of(ward.claimed(study, site), ward.decimals(study))} tokens"
    try:
        opened = ward.open_round(study)
    except ContractReverted as error:
        return {**found, "state": f"approved; {error.reason}; {paid}"}
    member = f"weight up to {slot.max_weight:,}" if slot.is_member(opened.round) else "NOT admitted"
    return {
        **found,
        "open_round": opened.round,
        "state": f"approved; round {opened.round} is open; {member}; {paid}",
    }

"""Pay sites what they have earned: find the last final round whose rewards are shown, and claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from eth_account.signers.local import LocalAccount

from wardround.chain.blocks import Receipt
from wardround.chain.ward_round import WardRound
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.errors import ReplayFailed, SpecificationError
from wardround.protocol.identifiers import SiteAddress, StudyId, hex_of
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, parse_manifest
from wardround.protocol.record import Closing
from wardround.protocol.rewards import reward_tree
from wardround.store import Store
from wardround.store.errors import ObjectMissing


@dataclass(frozen=True)
class Claimable:
    """Rewards that the contract pays: those of a final round.

    Attributes:
        earned: by site, over all rounds up to this one, in the token's smallest unit.
    """

    round: int
    closing: Closing
    earned: Mapping[SiteAddress, int]


def claimable(ward: WardRound, study: StudyId, store: Store) -> Claimable:
    """Find the last final round whose manifest is in the store.

    Raises:
        SpecificationError: no round was closed, or none is final yet; names the time.
        ObjectMissing: no final round's manifest is in the store.
        ReplayFailed: a manifest's rewards are not those of the record.
    """
    final, what = ward.final_closings(study), f"study {hex_of(study)}"
    if not final:
        closings = ward.closings(study)
        if not closings:
            raise SpecificationError(what, "no round was closed, so nothing was earned")
        until = closings[0][1].closed_at + ward.study(study).challenge_seconds
        when = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        raise SpecificationError(what, f"round 1 is not final before {when}: claim after that")
    missing: ObjectMissing | None = None
    for number, closing in reversed(final):
        cid = cid_from_sha256(closing.record.manifest)
        try:
            earned = parse_manifest(store.get(cid, MANIFEST_MAX_BYTES)).earned()
        except ObjectMissing as error:
            # An earlier round's rewards are a part of it.
            missing = missing or error
            continue
        if reward_tree(earned).root != closing.record.rewards:
            raise ReplayFailed(number, "rewards", "the manifest's are not those on chain")
        return Claimable(number, closing, earned)
    assert missing is not None
    raise missing


def claim_for(
    ward: WardRound, payer: LocalAccount, study: StudyId, found: Claimable, site: SiteAddress
) -> tuple[int, Receipt | None]:
    """Let the contract pay a site.

    Returns:
        How much it paid now, and the transaction; 0 and None when nothing is due.
    """
    due = found.earned.get(site, 0) - ward.claimed(study, site)
    if due <= 0:
        return 0, None
    proof = reward_tree(found.earned).proof(site)
    receipt = ward.claim(payer, study, found.round, found.closing, site, found.earned[site], proof)
    return due, receipt

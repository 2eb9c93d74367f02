"""What a coordinator might try, each as a round that is honest but for one lie.

A cheater holds the coordinator's key, the sites' true contributions and the store. It forges one
thing, computes everything else by the rules, stores what it must, and closes the round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from eth_account import Account
from eth_account.signers.local import LocalAccount

from wardround.chain.court import Court
from wardround.chain.errors import ContractReverted
from wardround.protocol.attestation import Attestation
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.cid import cid_from_sha256, cid_of
from wardround.protocol.commitments import (
    DISTANCES,
    NORMS,
    RANKS,
    SCORES,
    Commitments,
    running_total_of,
    score_of,
)
from wardround.protocol.contribution import Entry, pack_entries
from wardround.protocol.fixed_point import Int32Vector, IntVector, vector_bytes, vector_from_bytes
from wardround.protocol.identifiers import SiteAddress, address_of, hex_of
from wardround.protocol.inspection import chunks_from
from wardround.protocol.manifest import Manifest, RowsRef, parse_manifest
from wardround.protocol.merkle import vector_leaves, vector_root
from wardround.protocol.record import Record
from wardround.protocol.rules import aggregate, krum_selected
from wardround.protocol.settlement import RoundFrame, Vector, settle
from wardround_coordinator.session import StudyPosition
from wardround_simulations.refusals import RepeatingWard
from wardround_simulations.stage import GRACE_SECONDS, ROUND_SECONDS, ROWS, Stage

#: The coordinate that is shifted: in the second of three chunks.
SHIFTED = 300


@dataclass(frozen=True)
class Row:
    """A contribution as a cheater has it: entry, report and update."""

    entry: Entry
    report: bytes
    update: Int32Vector


@dataclass(frozen=True)
class Draft:
    """A round as it is about to be closed; `model` and `manifest` are not stored yet."""

    rows: tuple[Row, ...]
    model: Vector
    manifest: Manifest
    record: Record
    commitments: Commitments

    def with_row(self, name: str, place: int, row: bytes) -> Draft:
        """Put another row into a named commitment."""
        rows = list(self.commitments.rows[name])
        rows[place] = row
        changed = Commitments({**self.commitments.rows, name: tuple(rows)})
        named = {
            name: RowsRef(root=hex_of(root), cid=cid_of(changed.data(name)))
            for name, root in changed.roots.items()
        }
        return replace(
            self,
            manifest=self.manifest.model_copy(update={"commitments": named}),
            record=replace(self.record, commitments=changed.root),
            commitments=changed,
        )

    def with_model(self, values: IntVector) -> Draft:
        """Put in another model."""
        model = Vector.of(values)
        manifest = self.manifest.model_copy(update={"model": model.ref()})
        return replace(
            self, model=model, manifest=manifest, record=replace(self.record, model=model.root)
        )


class Cheater:
    """A coordinator that closes whatever it has drafted."""

    def __init__(self, stage: Stage, signer: LocalAccount) -> None:
        self.stage = stage
        self.signer = signer
        self.position: StudyPosition = stage.session(signer).position()
        sent = stage.collect(self.position).values()
        self.rows = _sorted([Row(one.entry, one.report, update) for one, update in sent])

    def draft(self, rows: Sequence[Row] | None = None) -> Draft:
        """Compute what follows by the rules from some contributions, by default the true ones."""
        rows = self.rows if rows is None else rows
        stage, position = self.stage, self.position
        frame = RoundFrame(
            domain=stage.contract.domain,
            study=stage.study,
            spec=stage.spec,
            round=position.round,
            coordinator=self.signer.address,
            base=position.base,
        )
        entries, updates = [row.entry for row in rows], [row.update for row in rows]
        objects = [(cid_of(vector_bytes(row.update)), cid_of(row.report)) for row in rows]
        change = aggregate(stage.spec.rule, updates, [entry.weight for entry in entries])
        settled = settle(frame, entries, objects, change, [], updates)
        return Draft(
            tuple(rows), settled.model, settled.manifest, settled.record, settled.commitments
        )

    def close(self, draft: Draft, hidden: str | None = None) -> None:
        """Store everything but what is hidden, and close the round.

        Raises:
            ContractReverted: the contract does not let it.
        """
        manifest = draft.manifest.encode()
        objects = [manifest, draft.model.data]
        objects += [draft.commitments.data(name) for name in draft.commitments.rows]
        objects += [data for row in draft.rows for data in (vector_bytes(row.update), row.report)]
        for data in objects:
            if cid_of(data) != hidden:
                self.stage.store.put(data)
        self._reach_cut_off()
        self.stage.contract.close_round(
            self.signer,
            self.stage.facts,
            self.position.round,
            replace(draft.record, manifest=sha256_digest(manifest)),
            self.position.previous,
            [row.entry for row in draft.rows],
        )

    def lock(self, rows: Sequence[Row], hidden: Sequence[str] = ()) -> None:
        """Store everything but what is hidden, and lock the round's cohort.

        Raises:
            ContractReverted: the contract does not let it.
        """
        entries, stage = [row.entry for row in rows], self.stage
        updates = [vector_bytes(row.update) for row in rows]
        for data in (pack_entries(entries), *updates, *(row.report for row in rows)):
            if cid_of(data) not in hidden:
                stage.store.put(data)
        self._reach_cut_off()
        where = (self.position.round, self.position.previous)
        stage.contract.lock_cohort(self.signer, stage.facts, *where, entries)

    def _reach_cut_off(self) -> None:
        """Let pass what the contract leaves sites to register, which it checks before all else."""
        contract, params = self.stage.contract, self.stage.params
        opened = contract.open_round(params.study_id).opened_at
        left = opened + params.registration_seconds - contract.chain.timestamp()
        if left > 0:
            contract.chain.advance(left)

    def signed(self, entry: Entry, key: bytes) -> bytes:
        """Sign an entry for this round."""
        statement = entry.contribution(
            self.stage.study, self.position.round, self.position.previous.record.model
        )
        return statement.sign(self.stage.contract.domain, key)


def shift_a_coordinate(cheater: Cheater) -> None:
    """Add one unit, a millionth, to one coordinate of the model."""
    draft = cheater.draft()
    values = draft.model.values.copy()
    values[SHIFTED] += 1
    cheater.close(draft.with_model(values))


def misstate_a_norm(cheater: Cheater) -> None:
    """State a norm of one for a site, so that its update seems too short to be clipped."""
    draft = cheater.draft()
    cheater.close(draft.with_row(NORMS, 0, _with_word(draft, NORMS, 0, 0, 1)))


def misstate_a_distance(cheater: Cheater) -> None:
    """State that the two first updates are the same, so that both seem less far from the others."""
    draft = cheater.draft()
    cheater.close(draft.with_row(DISTANCES, 0, _with_word(draft, DISTANCES, 0, 0, 0)))


def misstate_a_projection(cheater: Cheater) -> None:
    """State a longer projection of an update on the change of the model, to raise its score."""
    draft = cheater.draft()
    projection = int.from_bytes(draft.commitments.rows[SCORES][0][:32], signed=True)
    cheater.close(draft.with_row(SCORES, 0, _with_word(draft, SCORES, 0, 0, abs(projection) * 3)))


def raise_a_score(cheater: Cheater) -> None:
    """Multiply the last site's score by ten, and add it up correctly."""
    draft = cheater.draft()
    last = len(draft.rows) - 1
    row = draft.commitments.rows[SCORES][last]
    score, more = score_of(row), 9 * score_of(row)
    draft = draft.with_row(SCORES, last, _with_word(draft, SCORES, last, 2, score + more))
    total = running_total_of(row) + more
    cheater.close(draft.with_row(SCORES, last, _with_word(draft, SCORES, last, 3, total)))


def misstate_the_sum(cheater: Cheater) -> None:
    """State twice the sum of all scores, so that each site has half of its share."""
    draft = cheater.draft()
    last = len(draft.rows) - 1
    total = 2 * running_total_of(draft.commitments.rows[SCORES][last])
    cheater.close(draft.with_row(SCORES, last, _with_word(draft, SCORES, last, 3, total)))


def withhold_a_tree(cheater: Cheater) -> None:
    """Commit to another sum tree of a site's products, and withhold it."""
    draft = cheater.draft()
    cheater.close(draft.with_row(SCORES, 1, _with_word(draft, SCORES, 1, 1, 1)))


def select_another_site(cheater: Cheater) -> None:
    """Rank the site first that is farthest from the others, and average its update too."""
    draft = cheater.draft()
    hostile = cheater.stage.spec.rule.argument
    ranks = [int.from_bytes(row) for row in draft.commitments.rows[RANKS]]
    farthest = ranks.index(max(ranks))
    ranks[farthest] = 0
    chosen = [draft.rows[place].update for place in krum_selected(ranks, hostile)]
    change = sum(update.astype(np.int64) for update in chosen) // len(chosen)
    model = cheater.position.base.values + np.asarray(change, np.int32)
    draft = draft.with_row(RANKS, farthest, bytes(32))
    cheater.close(draft.with_model(model))


def _with_word(draft: Draft, name: str, place: int, word: int, value: int) -> bytes:
    row = draft.commitments.rows[name][place]
    return row[: 32 * word] + value.to_bytes(32) + row[32 * word + 32 :]


def drop_a_site(cheater: Cheater) -> None:
    """Leave out a site's contribution."""
    cheater.close(cheater.draft(cheater.rows[:1] + cheater.rows[2:]))


def demand_what_it_leaves_out(cheater: Cheater) -> None:
    """Demand a registered contribution, and leave it out although its site shows it."""
    stage, row, before = cheater.stage, cheater.rows[1], cheater.position.previous.commitment
    court, update = Court(stage.contract), vector_bytes(row.update)
    count = len(vector_leaves(update))
    where = (stage.study, cheater.position.round, before)
    court.approve_deposit(cheater.signer, stage.study)
    court.demand_contribution(cheater.signer, *where, row.entry.site, (0, count))
    shown = chunks_from(update, 0, count)
    court.answer_contribution(stage.parties.auditor, *where, row.entry.pack(), shown)
    drop_a_site(cheater)


def invent_a_site(cheater: Cheater) -> None:
    """Add a site that was not admitted, with a key of the coordinator's own."""
    account = Account.create()
    true = cheater.rows[0]
    entry = replace(true.entry, site=SiteAddress(account.address))
    entry = replace(entry, signature=cheater.signed(entry, bytes(account.key)))
    cheater.close(cheater.draft(_sorted([*cheater.rows, replace(true, entry=entry)])))


def replay_an_old_contribution(cheater: Cheater) -> None:
    """Put in what a site signed for the round before."""
    stage, previous = cheater.stage, cheater.position.previous.record.manifest
    old = parse_manifest(stage.store.get(cid_from_sha256(previous))).contributions[0]
    data = stage.store.get(old.update.cid)
    update = vector_from_bytes(data, stage.params.parameter_count)
    row = Row(old.entry(), stage.store.get(old.report.cid), update)
    others = [row for row in cheater.rows if row.entry.site != address_of(old.site)]
    cheater.close(cheater.draft(_sorted([row, *others])))


def inflate_a_weight(cheater: Cheater) -> None:
    """Let a site weigh more than the sponsor allows it."""
    first = cheater.rows[0]
    heavy = replace(first, entry=replace(first.entry, weight=10 * ROWS))
    cheater.close(cheater.draft([heavy, *cheater.rows[1:]]))


def count_a_site_twice(cheater: Cheater) -> None:
    """Put one contribution in twice."""
    cheater.close(cheater.draft([cheater.rows[0], *cheater.rows]))


def state_another_total(cheater: Cheater) -> None:
    """Write down a total weight that is not the sum of the weights."""
    draft = cheater.draft()
    record = replace(draft.record, total_weight=draft.record.total_weight + 1)
    cheater.close(replace(draft, record=record))


def sign_nothing(cheater: Cheater) -> None:
    """Put in a contribution that its site did not sign."""
    first = cheater.rows[0]
    unsigned = replace(first, entry=replace(first.entry, signature=bytes(65)))
    cheater.close(cheater.draft([unsigned, *cheater.rows[1:]]))


def attest_a_false_round(cheater: Cheater) -> None:
    """Shift a coordinate, and let an auditor that is a friend attest the round at once."""
    shift_a_coordinate(cheater)
    stage, friend = cheater.stage, cheater.stage.parties.standby
    closing = stage.contract.last_closing(stage.study)
    where = (stage.study, cheater.position.round)
    signature = Attestation(*where, closing.commitment).sign(
        stage.contract.domain, bytes(friend.key)
    )
    try:
        stage.contract.attest(friend, *where, closing, {friend.address: signature})
    except ContractReverted as error:
        # Others have time to object, and one of them does.
        if error.name != "WardRound_TooEarly":
            raise


def withhold_the_model(cheater: Cheater) -> None:
    """Close the round honestly, but withhold the new model."""
    draft = cheater.draft()
    cheater.close(draft, hidden=draft.model.cid)


def withhold_an_update(cheater: Cheater) -> None:
    """Close the round honestly, but withhold one of the updates."""
    draft = cheater.draft()
    cheater.close(draft, hidden=cid_of(vector_bytes(draft.rows[1].update)))


def withhold_the_manifest(cheater: Cheater) -> None:
    """Close the round honestly, but withhold the manifest, which lists its sites."""
    draft = cheater.draft()
    cheater.close(draft, hidden=cid_of(draft.manifest.encode()))


def close_twice(cheater: Cheater) -> None:
    """Close the round honestly, then once more with another model."""
    draft = cheater.draft()
    cheater.close(draft)
    values = draft.model.values.copy()
    values[SHIFTED] += 1
    cheater.close(draft.with_model(values))


def close_after_takeover(cheater: Cheater) -> None:
    """Come back after the standby has taken over."""
    stage = cheater.stage
    stage.chain.advance(ROUND_SECONDS + GRACE_SECONDS)
    stage.contract.take_over(stage.parties.standby, stage.study)
    cheater.close(cheater.draft())


def lock_hidden_entries(cheater: Cheater) -> None:
    """Lock a cohort, and withhold its entries."""
    packed = pack_entries([row.entry for row in cheater.rows])
    cheater.lock(cheater.rows, [cid_of(packed)])


def lock_a_hidden_update(cheater: Cheater) -> None:
    """Lock a cohort, and withhold one of its updates."""
    cheater.lock(cheater.rows, [cid_of(vector_bytes(cheater.rows[1].update))])


def lock_without_a_site(cheater: Cheater) -> None:
    """Lock a cohort that leaves a site out."""
    cheater.lock(cheater.rows[:1] + cheater.rows[2:])


def lock_a_wrong_weight(cheater: Cheater) -> None:
    """Lock a cohort in which a site weighs more than the sponsor allows it."""
    first = cheater.rows[0]
    heavy = replace(first, entry=replace(first.entry, weight=10 * ROWS))
    cheater.lock([heavy, *cheater.rows[1:]])


def lock_beyond_the_bound(cheater: Cheater) -> None:
    """Lock a cohort with an update beyond the study's bound, which its site signs as a friend."""
    first, stage = cheater.rows[0], cheater.stage
    keys = {str(party.account.address): bytes(party.account.key) for party in stage.hospitals}
    update = first.update.copy()
    update[SHIFTED] = stage.spec.update_limit + 1
    entry = replace(first.entry, update=vector_root(vector_bytes(update)))
    entry = replace(entry, signature=cheater.signed(entry, keys[entry.site]))
    cheater.lock([Row(entry, first.report, update), *cheater.rows[1:]])


def lock_twice(cheater: Cheater) -> None:
    """Lock the cohort, then another one, as who has read an answer for the first might."""
    cheater.lock(cheater.rows)
    stage, position = cheater.stage, cheater.position
    ward = RepeatingWard(stage.contract.chain, stage.contract.address)
    others = [row.entry for row in cheater.rows[:1] + cheater.rows[2:]]
    ward.lock_cohort(cheater.signer, stage.facts, position.round, position.previous, others)


def close_what_is_not_locked(cheater: Cheater) -> None:
    """Lock the cohort, and close the round without one of its sites."""
    cheater.lock(cheater.rows)
    cheater.close(cheater.draft(cheater.rows[:1] + cheater.rows[2:]))


def _sorted(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: bytes.fromhex(row.entry.site[2:]))

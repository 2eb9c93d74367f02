// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Annexed} from "./Annexed.sol";
import {Escrow} from "./Escrow.sol";
import {ICourtBase} from "./interfaces/ICourtBase.sol";
import {IEscrow} from "./interfaces/IEscrow.sol";
import {IRounds} from "./interfaces/IRounds.sol";
import {
    Closing,
    Cohort,
    Earning,
    Record,
    Recording,
    Registration,
    Seat,
    Signed,
    Site,
    StudyId,
    Terms
} from "./interfaces/IWardRound.sol";
import {Deposits} from "./libraries/Deposits.sol";
import {Earnings} from "./libraries/Earnings.sol";
import {Entries, Entry} from "./libraries/Entries.sol";
import {MerkleTree} from "./libraries/MerkleTree.sol";
import {Studies, Study} from "./libraries/Studies.sol";
import {Ward} from "./ward/Ward.sol";
import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {BitMaps} from "@openzeppelin/contracts/utils/structs/BitMaps.sol";

/// @title WardRound
/// @notice Records, enforces and pays the rounds of federated learning studies.
/// @dev Every entry point reads: checks, effects, event, transfer. Money moves last, so no call
/// needs a reentrancy guard. The contract has no owner and cannot be upgraded.
contract WardRound is Ward, Annexed, IRounds {
    using BitMaps for BitMaps.BitMap;
    using Earnings for Study;
    using Entries for bytes;
    using MerkleTree for bytes32[];
    using Studies for Study;

    bytes32 internal constant ATTESTATION_TYPEHASH =
        keccak256("Attestation(bytes32 study,uint32 round,bytes32 record)");

    /// Burnt parts of bonds are owed to this address, whose key does not exist.
    address internal constant BURNT = 0x000000000000000000000000000000000000dEaD;

    /// @inheritdoc IRounds
    address public immutable COURT;

    /// @inheritdoc IRounds
    address public immutable ESCROW;

    /// @param court Deployed before, and naming the address of this contract: so neither needs an
    /// owner or a setter, and no other account can put another court in.
    /// @param annex A WardRoundAnnex, deployed before.
    constructor(ICourtBase court, address annex) Annexed(annex) {
        if (address(court.WARD()) != address(this)) revert WardRound_CourtDiffers(address(court));

        COURT = address(court);
        ESCROW = address(new Escrow());
    }

    // ================================================================== rounds

    /// @inheritdoc IRounds
    function closeRound(
        StudyId id,
        uint32 round,
        Record calldata record,
        Closing calldata previous,
        bytes calldata entries
    ) external {
        Study storage s = _studies[id];
        Cohort memory cohort = _cohortOf(record);
        _checkCohort(id, s, round, cohort, Recording.Full, false);
        _checkEntries(id, s, round, cohort, previous, entries);

        _close(id, s, round, record);
    }

    /// @inheritdoc IRounds
    function closeRoundRoot(StudyId id, uint32 round, Record calldata record) external {
        Study storage s = _studies[id];
        // The entries are not looked at: anyone who has them can challenge a wrong root.
        if (s.lockedCohort) {
            _checkTurn(id, s, round);
            s.checkLock(id, round, record);
        } else {
            _checkCohort(id, s, round, _cohortOf(record), Recording.Root, false);
        }

        _close(id, s, round, record);
    }

    /// @inheritdoc IRounds
    function lockCohort(
        StudyId id,
        uint32 round,
        Cohort calldata cohort,
        Closing calldata previous,
        bytes calldata entries
    ) external {
        Study storage s = _studies[id];
        _checkCohort(id, s, round, cohort, Recording.Full, true);
        _checkEntries(id, s, round, cohort, previous, entries);

        _lock(id, s, round, cohort);
    }

    /// @inheritdoc IRounds
    function lockCohortRoot(StudyId id, uint32 round, Cohort calldata cohort) external {
        Study storage s = _studies[id];
        _checkCohort(id, s, round, cohort, Recording.Root, true);

        _lock(id, s, round, cohort);
    }

    /// @inheritdoc IRounds
    function contribute(StudyId id, uint32 round, Closing calldata previous, bytes calldata packed)
        external
    {
        Study storage s = _running(id);
        if (round != s.head) revert WardRound_RoundNotOpen(id, round, s.head);
        uint256 since = s.cutOff();
        if (block.timestamp >= since) revert WardRound_RegistrationOver(id, since);
        // It could not be included any more. A takeover opens the round, not its cohort.
        if (s.lockedBy != 0) revert WardRound_AlreadyLocked(id, round);
        bytes32 behind = s.checkCommitment(id, round - 1, previous);
        if (packed.length != Entries.SIZE) revert WardRound_EntriesMalformed(packed.length);
        Entry entry = packed.first();
        bytes memory filling = Entries.template(id, round, previous.record.model);
        (address key, uint64 weight) = s.checkEntry(id, round, entry, filling, _domainSeparatorV4());
        Registration storage mine = s.registration(round, behind, key);
        if (mine.registeredAt != 0) revert WardRound_AlreadyRegistered(id, round, key);

        mine.entryHash = keccak256(packed);
        mine.sender = msg.sender;
        mine.registeredAt = uint64(block.timestamp);
        emit Registered(
            id, round, key, msg.sender, behind, entry.update(), weight, mine.registeredAt, packed
        );
        _take(id, s, msg.sender, s.deposit);
    }

    /// @inheritdoc IRounds
    function attest(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        Signed[] calldata attestations
    ) external {
        Study storage s = _known(id);
        bytes32 stored = s.checkCommitment(id, round, closing);
        if (round >= s.head) revert WardRound_RoundNotOpen(id, round, s.head);
        // By time too: it would leave the auditors of the next one without the fees of those before.
        if (s.isFinal(round, closing.closedAt)) revert WardRound_AlreadyFinal(id, round);
        // Auditors may collude with the coordinator, so every other account can challenge first.
        uint256 from = uint256(closing.closedAt) + s.objectionSeconds;
        if (block.timestamp < from) revert WardRound_TooEarly(id, from);
        // A quorum of zero switches attestations off; it does not make them free.
        if (s.auditorQuorum == 0 || attestations.length < s.auditorQuorum) {
            revert WardRound_QuorumMissing(attestations.length, s.auditorQuorum);
        }
        bytes32 digest =
            _hashTypedDataV4(keccak256(abi.encode(ATTESTATION_TYPEHASH, id, round, stored)));
        uint256 share = s.shareAttestingFee(round, attestations.length);
        address last;
        for (uint256 i = 0; i < attestations.length; ++i) {
            address auditor = attestations[i].auditor;
            if (!s.auditors[auditor]) revert WardRound_NotAuditor(id, auditor);
            if (auditor <= last) revert WardRound_AuditorsUnsorted(i, auditor);
            if (!_isSigned(auditor, digest, attestations[i].signature)) {
                revert WardRound_AttestationInvalid(auditor);
            }
            last = auditor;
            if (share != 0) s.owed[auditor] += share;
        }

        s.finalThrough = round;
        emit Attested(id, round, attestations.length);
        if (share != 0) emit AttestingFeeShared(id, round, share * attestations.length, share);
    }

    /// @inheritdoc IRounds
    function takeOver(StudyId id) external {
        Study storage s = _running(id);
        if (!s.stands(msg.sender)) revert WardRound_NotBonded(id, msg.sender);
        address from = s.coordinator;
        // Without an active coordinator, the first bonded one need not wait.
        if (from != address(0)) {
            uint256 seats = s.coordinators.length;
            // Unsigned, so the ring is walked forward: never below zero.
            uint256 distance = (seats + s.seats[msg.sender].place - s.seats[from].place) % seats;
            if (distance == 0) revert WardRound_NotCoordinator(id, msg.sender);
            uint256 turn = s.turnOf(distance);
            if (block.timestamp < turn) revert WardRound_TooEarly(id, turn);
        }

        s.stall();
        s.coordinator = msg.sender;
        s.openedAt = uint48(block.timestamp);
        emit TookOver(id, s.head, msg.sender, from, s.openedAt);
    }

    // ================================================================== money

    /// @inheritdoc IRounds
    function fund(StudyId id, uint128 amount) external {
        Study storage s = _known(id);

        // No upper limit: whatever no site earns goes back to the sponsor.
        s.funded += amount;
        emit Funded(id, msg.sender, amount);
        _take(id, s, msg.sender, amount);
    }

    /// @inheritdoc IRounds
    function postBond(StudyId id) external {
        Study storage s = _known(id);
        Seat storage mine = s.seats[msg.sender];
        if (mine.place == 0) revert WardRound_NotCoordinator(id, msg.sender);
        if (mine.bonded) revert WardRound_AlreadyBonded(id, msg.sender);
        if (mine.barred) revert WardRound_Barred(id, msg.sender);

        mine.bonded = true;
        mine.bond = s.bond;
        emit BondPosted(id, msg.sender, s.bond);
        _take(id, s, msg.sender, s.bond);
    }

    /// @inheritdoc IRounds
    function claim(StudyId id, address key, Earning[] calldata earnings) external {
        Study storage s = _known(id);
        address payout = s.sites[key].payout;
        if (payout == address(0)) revert WardRound_SiteUnknown(id, key);
        if (earnings.length == 0 || s.rewardPerRound == 0) revert WardRound_NothingDue(id);

        uint256 sum;
        for (uint256 i = 0; i < earnings.length; ++i) {
            uint256 share = s.settle(id, key, earnings[i]);
            sum += share;
            emit Claimed(id, key, earnings[i].round, payout, share);
        }
        // Rounds pay no more than the study was funded with, which has 128 bits.
        // forge-lint: disable-next-line(unsafe-typecast)
        s.paid += uint128(sum);
        // Shares of zero are settled too, or the round's last entry would never be paid.
        if (sum != 0) _pay(id, s, payout, sum);
    }

    /// @inheritdoc IRounds
    function releaseBond(StudyId id, Closing calldata closing) external {
        Study storage s = _known(id);
        Seat storage mine = s.seats[msg.sender];
        if (!mine.bonded) revert WardRound_NotBonded(id, msg.sender);
        // A study that never opens binds no coordinator.
        if (s.head != 0) s.checkOver(id, closing);

        uint256 amount = mine.bond;
        mine.bonded = false;
        mine.bond = 0;
        emit BondReleased(id, msg.sender, amount);
        _pay(id, s, msg.sender, amount);
    }

    /// @inheritdoc IRounds
    function claimFee(StudyId id, uint32 round, Closing calldata closing) external {
        Study storage s = _known(id);
        s.checkFinal(id, round, closing);
        uint256 fee = s.closingFee;
        // No coordinator closed round 0.
        if (fee == 0 || round == 0 || s.feePaid.get(round)) revert WardRound_NothingDue(id);

        s.feePaid.set(round);
        emit ClosingFeePaid(id, round, closing.coordinator, fee);
        _pay(id, s, closing.coordinator, fee);
    }

    /// @inheritdoc IRounds
    function refund(StudyId id, Closing calldata closing) external {
        Study storage s = _known(id);
        s.checkOver(id, closing);
        // Of its rounds the study keeps all that they pay, claimed or not.
        uint256 kept = s.earnings() + s.refunded;
        if (kept >= s.funded) revert WardRound_NothingDue(id);

        uint256 amount = s.funded - kept;
        // A part of `funded`, which has 128 bits.
        // forge-lint: disable-next-line(unsafe-typecast)
        s.refunded += uint128(amount);
        emit Refunded(id, s.sponsor, amount);
        // Paid to the sponsor in any case, so the caller needs no check.
        _pay(id, s, s.sponsor, amount);
    }

    /// @inheritdoc IRounds
    function collect(StudyId id, address account) external {
        Study storage s = _known(id);
        uint256 amount = s.owed[account];
        if (amount == 0) revert WardRound_NothingDue(id);

        s.owed[account] = 0;
        emit Collected(id, account, amount);
        _pay(id, s, account, amount);
    }

    // ================================================================== court

    /// @inheritdoc IRounds
    function overturn(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        address challenger,
        bool paid,
        bytes32 reason
    ) external {
        if (msg.sender != COURT) revert WardRound_NotCourt(msg.sender);
        Study storage s = _studies[id];
        bytes32 given = keccak256(abi.encode(closing));
        if (!s.isChallengeable(round, given, closing.closedAt)) {
            revert WardRound_NotChallengeable(id, round);
        }
        address coordinator = closing.coordinator;
        uint256 bond = s.seats[coordinator].bond;
        // A cheater may challenge itself, so it must never get all of it back.
        uint256 reward = paid ? bond / 2 : 0;

        s.bar(coordinator);
        s.reopen(round);
        s.owed[challenger] += reward;
        s.owed[BURNT] += bond - reward;
        emit Overturned(id, round, coordinator, challenger, reason, s.openedAt, s.coordinator);
        emit Slashed(id, coordinator, challenger, reward, bond - reward);
    }

    /// @inheritdoc IRounds
    function hold(StudyId id, uint32 round, uint64 until) external {
        if (msg.sender != COURT) revert WardRound_NotCourt(msg.sender);
        Study storage s = _studies[id];
        // A lock is not final before its round is closed.
        if (round == s.head) return;

        s.hold(round, until);
        emit Held(id, s.holdRound, s.holdUntil);
    }

    /// @inheritdoc IRounds
    function take(StudyId id, address from, uint256 amount) external {
        if (msg.sender != COURT) revert WardRound_NotCourt(msg.sender);

        _take(id, _studies[id], from, amount);
    }

    /// @inheritdoc IRounds
    function credit(StudyId id, address account, uint256 amount) external {
        if (msg.sender != COURT) revert WardRound_NotCourt(msg.sender);

        _studies[id].owed[account] += amount;
    }

    // ================================================================== views

    /// @inheritdoc IRounds
    function escrowOf(StudyId id) public view returns (address) {
        return Clones.predictDeterministicAddress(ESCROW, StudyId.unwrap(id));
    }

    /// @inheritdoc IRounds
    function challengeable(StudyId id, uint32 round, bytes32 stored, uint64 closedAt)
        external
        view
        returns (bool)
    {
        return _studies[id].isChallengeable(round, stored, closedAt);
    }

    /// @inheritdoc IRounds
    function terms(StudyId id) external view returns (Terms memory) {
        return _known(id).terms();
    }

    /// @inheritdoc IRounds
    function registration(StudyId id, uint32 round, bytes32 previous, address key)
        external
        view
        returns (Registration memory)
    {
        return _studies[id].registration(round, previous, key);
    }

    /// @inheritdoc IRounds
    function commitment(StudyId id, uint32 round) external view returns (bytes32) {
        return _studies[id].commitments[round];
    }

    /// @inheritdoc IRounds
    function site(StudyId id, address key) external view returns (Site memory) {
        return _studies[id].sites[key];
    }

    // ================================================================== inside

    function _take(StudyId id, Study storage s, address from, uint256 amount) internal {
        Deposits.pull(s.token, from, escrowOf(id), amount);
    }

    function _pay(StudyId id, Study storage s, address to, uint256 amount) internal {
        IEscrow(escrowOf(id)).pay(IERC20(s.token), to, amount);
    }

    function _checkTurn(StudyId id, Study storage s, uint32 round) internal view {
        // Of an unknown or unopened study the coordinator is zero, which has no key.
        if (msg.sender != s.coordinator) revert WardRound_NotCoordinator(id, msg.sender);
        if (round != s.head) revert WardRound_RoundNotOpen(id, round, s.head);
        if (round > s.rounds) revert WardRound_StudyOver(id, s.rounds);
        // A late close is welcome as long as no standby took over.
    }

    /// Reverts unless the caller may now fix the cohort, by a lock or by closing the round.
    function _checkCohort(
        StudyId id,
        Study storage s,
        uint32 round,
        Cohort memory cohort,
        Recording recording,
        bool locking
    ) internal view {
        _checkTurn(id, s, round);
        if (recording != s.recording) revert WardRound_RecordingDiffers(id, s.recording);
        if (locking != s.lockedCohort) revert WardRound_LockingDiffers(id, s.lockedCohort);
        if (cohort.count < s.minSites) {
            revert WardRound_TooFewSites(id, cohort.count, s.minSites);
        }
        if (cohort.totalWeight < cohort.count || cohort.totalWeight >= TOTAL_WEIGHT_LIMIT) {
            revert WardRound_TotalWeightOutOfRange(cohort.totalWeight);
        }
        s.checkComplete(id, cohort.count);
    }

    function _cohortOf(Record calldata record) internal pure returns (Cohort memory) {
        return Cohort(record.contributions, record.count, record.totalWeight);
    }

    /// Reverts unless these are the cohort's entries, on top of the round before.
    function _checkEntries(
        StudyId id,
        Study storage s,
        uint32 round,
        Cohort memory cohort,
        Closing calldata previous,
        bytes calldata entries
    ) internal {
        s.checkCommitment(id, round - 1, previous);
        if (cohort.count * Entries.SIZE != entries.length) {
            revert WardRound_EntriesMalformed(entries.length);
        }
        (bytes32 contributions, uint256 totalWeight) =
            _collect(id, s, round, previous.record.model, entries.first(), cohort.count);
        if (totalWeight != cohort.totalWeight) {
            revert WardRound_TotalWeightDiffers(cohort.totalWeight, totalWeight);
        }
        if (contributions != cohort.contributions) {
            revert WardRound_ContributionsDiffer(cohort.contributions, contributions);
        }
    }

    /// Checks every entry, and answers their root and total weight.
    function _collect(
        StudyId id,
        Study storage s,
        uint32 round,
        bytes32 baseModel,
        Entry entry,
        uint256 count
    ) internal returns (bytes32 contributions, uint256 totalWeight) {
        bytes32 domainSeparator = _domainSeparatorV4();
        bytes memory filling = Entries.template(id, round, baseModel);
        bytes32[] memory leaves = new bytes32[](count);
        address last;
        for (uint256 i = 0; i < count; ++i) {
            // Strictly: equal keys would be one site counted twice.
            if (entry.site() <= last) revert WardRound_EntriesUnsorted(i, entry.site());
            (address key, uint64 weight) = s.checkEntry(id, round, entry, filling, domainSeparator);
            leaves[i] = MerkleTree.leafHash(entry.packed());
            // Cannot overflow: a weight has 64 bits, and there are fewer than 2**32.
            unchecked {
                totalWeight += weight;
            }
            emit Contributed(id, round, key, entry.update(), weight);
            last = key;
            entry = entry.next();
        }
        contributions = leaves.root();
    }

    function _lock(StudyId id, Study storage s, uint32 round, Cohort memory cohort) internal {
        s.lock(id, round, cohort);
        emit CohortLocked(
            id, round, s.attempt, msg.sender, cohort.contributions, cohort.count, cohort.totalWeight
        );
    }

    function _close(StudyId id, Study storage s, uint32 round, Record calldata record) internal {
        bytes memory closing = abi.encode(record, msg.sender, uint64(block.timestamp));

        s.commitments[round] = keccak256(closing);
        s.advance(round + 1);
        // The event's data is what the commitment hashes, so it is encoded once for both.
        bytes32 selector = RoundClosed.selector;
        assembly ("memory-safe") {
            log3(add(closing, 0x20), mload(closing), selector, id, round)
        }
    }
}

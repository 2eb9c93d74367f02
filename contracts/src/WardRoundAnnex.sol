// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IRounds} from "./interfaces/IRounds.sol";
import {IStudies} from "./interfaces/IStudies.sol";
import {
    Closing,
    Paid,
    Seat,
    Site,
    StudyId,
    StudyParams,
    StudyState
} from "./interfaces/IWardRound.sol";
import {Studies, Study} from "./libraries/Studies.sol";
import {Ward} from "./ward/Ward.sol";
import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {BitMaps} from "@openzeppelin/contracts/utils/structs/BitMaps.sol";

/// @title WardRoundAnnex
/// @notice The part of WardRound that does not fit into its own code: see Annexed.
/// @dev Called at its own address it keeps studies of its own, into which it takes no money.
contract WardRoundAnnex is Ward, IStudies {
    using BitMaps for BitMaps.BitMap;
    using Studies for Study;

    bytes32 internal constant PAYOUT_TYPEHASH =
        keccak256("PayoutChange(bytes32 study,address site,address payout,uint256 change)");

    // ================================================================== study

    /// @inheritdoc IStudies
    function createStudy(
        StudyParams calldata params,
        address[] calldata coordinators,
        address[] calldata auditors
    ) external returns (StudyId id) {
        id = studyIdOf(params);
        Study storage s = _studies[id];
        if (s.sponsor != address(0)) revert WardRound_StudyExists(id);
        if (msg.sender != params.sponsor) revert WardRound_NotSponsor(id, msg.sender);

        s.create(params, coordinators, auditors);
        emit StudyCreated(id, params.sponsor, params, coordinators, auditors);
        // No return value to keep: escrowOf computes the address. This contract runs as WardRound.
        Clones.cloneDeterministic(IRounds(address(this)).ESCROW(), StudyId.unwrap(id));
    }

    /// @inheritdoc IStudies
    function admitSite(StudyId id, address key, address payout, uint32 maxWeight) external {
        Study storage s = _sponsored(id);
        Site storage admitted = s.sites[key];
        if (admitted.payout != address(0)) revert WardRound_SiteExists(id, key);
        if (key == address(0) || payout == address(0) || maxWeight == 0) {
            revert WardRound_SiteInvalid(id, key);
        }
        // Or sites that register at their caps would leave no round that can be closed.
        uint256 caps = uint256(s.caps) + maxWeight;
        if (caps >= TOTAL_WEIGHT_LIMIT) revert WardRound_CapsTooHigh(id, caps);

        // Below 2**31.
        // forge-lint: disable-next-line(unsafe-typecast)
        s.caps = uint32(caps);
        uint32 since = s.head == 0 ? 1 : s.head;
        s.sites[key] =
            Site({payout: payout, maxWeight: maxWeight, since: since, until: type(uint32).max});
        ++s.siteCount;
        emit SiteAdmitted(id, key, payout, maxWeight, since);
    }

    /// @inheritdoc IStudies
    function removeSite(StudyId id, address key) external {
        Study storage s = _sponsored(id);
        Site storage removed = s.sites[key];
        if (removed.until != type(uint32).max) revert WardRound_SiteUnknown(id, key);

        // Not from this round: the coordinator may already hold the site's contribution.
        uint32 until = s.head + 1;
        removed.until = until;
        // A round that the site was a member of can open again, and its contribution with it.
        if (until <= removed.since) s.caps -= removed.maxWeight;
        --s.siteCount;
        // It is a member of the open round that `siteCount` does not count.
        s.uncount();
        emit SiteRemoved(id, key, until);
    }

    /// @inheritdoc IStudies
    function openStudy(StudyId id) external {
        Study storage s = _sponsored(id);
        if (s.head != 0) revert WardRound_StudyAlreadyOpen(id);
        uint256 needed = s.budget();
        if (s.funded < needed) revert WardRound_Underfunded(id, s.funded, needed);
        if (s.siteCount < s.minSites) revert WardRound_TooFewSites(id, s.siteCount, s.minSites);
        address first = s.coordinators[0];
        if (!s.stands(first)) revert WardRound_NotBonded(id, first);

        s.start();
        s.coordinator = first;
        emit StudyOpened(id, first, s.openedAt);
    }

    /// @inheritdoc IStudies
    function endStudy(StudyId id) external {
        Study storage s = _known(id);
        bool opened = s.head != 0;
        if (opened && s.head > s.rounds) revert WardRound_StudyOver(id, s.rounds);
        // After the deadline any account may end it, so that no money stays locked.
        if (!opened || block.timestamp < s.deadline) {
            if (msg.sender != s.sponsor) revert WardRound_NotSponsor(id, msg.sender);
            uint256 from = opened ? s.idleFrom() : 0;
            if (block.timestamp < from) revert WardRound_TooEarly(id, from);
        }

        if (!opened) s.start();
        s.rounds = s.head - 1;
        // No round is closed with it, so nothing has to be proven against it.
        s.lockedBy = 0;
        emit StudyEnded(id, s.rounds);
    }

    /// @inheritdoc IStudies
    function changePayout(StudyId id, address key, address payout, bytes calldata signature)
        external
    {
        Study storage s = _known(id);
        Site storage mine = s.sites[key];
        // Of an unknown site it is zero, which sends and signs nothing.
        address from = mine.payout;
        uint256 change = s.payoutChanges[key]++;
        if (msg.sender != from) {
            bytes32 digest =
                _hashTypedDataV4(keccak256(abi.encode(PAYOUT_TYPEHASH, id, key, payout, change)));
            if (!_isSigned(from, digest, signature)) {
                revert WardRound_NotPayout(id, key, msg.sender);
            }
        }
        if (payout == address(0)) revert WardRound_PayoutInvalid(id, key, payout);

        mine.payout = payout;
        emit PayoutChanged(id, key, from, payout);
    }

    // ================================================================== views

    /// @inheritdoc IStudies
    function owed(StudyId id, address account) external view returns (uint256) {
        return _studies[id].owed[account];
    }

    /// @inheritdoc IStudies
    function isFeePaid(StudyId id, uint32 round) external view returns (bool) {
        return _studies[id].feePaid.get(round);
    }

    /// @inheritdoc IStudies
    function openRound(StudyId id)
        external
        view
        returns (uint32 round, address coordinator, uint64 openedAt, bytes32 previousCommitment)
    {
        Study storage s = _running(id);
        round = s.head;
        return (round, s.coordinator, s.openedAt, s.commitments[round - 1]);
    }

    /// @inheritdoc IStudies
    function study(StudyId id) external view returns (StudyState memory) {
        return _known(id).state();
    }

    /// @inheritdoc IStudies
    function seat(StudyId id, address coordinator) external view returns (Seat memory) {
        return _studies[id].seats[coordinator];
    }

    /// @inheritdoc IStudies
    function isAuditor(StudyId id, address auditor) external view returns (bool) {
        return _studies[id].auditors[auditor];
    }

    /// @inheritdoc IStudies
    function isPaid(StudyId id, uint32 round, address key) external view returns (bool) {
        return _studies[id].paidRounds[key].get(round);
    }

    /// @inheritdoc IStudies
    function paidOf(StudyId id, uint32 round) external view returns (uint128 amount, uint32 count) {
        Paid storage paid = _studies[id].payments[round];
        return (paid.amount, paid.count);
    }

    /// @inheritdoc IStudies
    function isFinal(StudyId id, uint32 round, Closing calldata closing)
        external
        view
        returns (bool)
    {
        Study storage s = _known(id);
        s.checkCommitment(id, round, closing);
        return s.isFinal(round, closing.closedAt);
    }

    /// @inheritdoc IStudies
    function studyIdOf(StudyParams calldata params) public pure returns (StudyId) {
        return StudyId.wrap(keccak256(abi.encode(params)));
    }

    // ================================================================== inside

    function _sponsored(StudyId id) internal view returns (Study storage s) {
        s = _known(id);
        if (msg.sender != s.sponsor) revert WardRound_NotSponsor(id, msg.sender);
    }
}

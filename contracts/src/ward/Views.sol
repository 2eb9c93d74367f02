// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    Closing,
    IWardRound,
    Paid,
    Registration,
    Seat,
    Site,
    StudyId,
    StudyParams,
    StudyState,
    Terms
} from "../interfaces/IWardRound.sol";
import {Studies, Study} from "../libraries/Studies.sol";
import {BitMaps} from "@openzeppelin/contracts/utils/structs/BitMaps.sol";

/// @title Views
/// @notice What is kept of the studies, and how it is read. Nothing here changes any of it.
abstract contract Views is IWardRound {
    using BitMaps for BitMaps.BitMap;
    using Studies for Study;

    mapping(StudyId => Study) internal _studies;

    /// @inheritdoc IWardRound
    function challengeable(StudyId id, uint32 round, bytes32 stored, uint64 closedAt)
        external
        view
        returns (bool)
    {
        return _studies[id].isChallengeable(round, stored, closedAt);
    }

    /// @inheritdoc IWardRound
    function terms(StudyId id) external view returns (Terms memory) {
        return _known(id).terms();
    }

    /// @inheritdoc IWardRound
    function registration(StudyId id, uint32 round, address key)
        external
        view
        returns (Registration memory)
    {
        return _studies[id].registrations[round][key];
    }

    /// @inheritdoc IWardRound
    function owed(StudyId id, address account) external view returns (uint256) {
        return _studies[id].owed[account];
    }

    /// @inheritdoc IWardRound
    function isFeePaid(StudyId id, uint32 round) external view returns (bool) {
        return _studies[id].feePaid.get(round);
    }

    /// @inheritdoc IWardRound
    function openRound(StudyId id)
        external
        view
        returns (uint32 round, address coordinator, uint64 openedAt, bytes32 previousCommitment)
    {
        Study storage s = _running(id);
        round = s.head;
        return (round, s.coordinator, s.openedAt, s.commitments[round - 1]);
    }

    /// @inheritdoc IWardRound
    function commitment(StudyId id, uint32 round) external view returns (bytes32) {
        return _studies[id].commitments[round];
    }

    /// @inheritdoc IWardRound
    function study(StudyId id) external view returns (StudyState memory) {
        return _known(id).state();
    }

    /// @inheritdoc IWardRound
    function site(StudyId id, address key) external view returns (Site memory) {
        return _studies[id].sites[key];
    }

    /// @inheritdoc IWardRound
    function seat(StudyId id, address coordinator) external view returns (Seat memory) {
        return _studies[id].seats[coordinator];
    }

    /// @inheritdoc IWardRound
    function isAuditor(StudyId id, address auditor) external view returns (bool) {
        return _studies[id].auditors[auditor];
    }

    /// @inheritdoc IWardRound
    function isPaid(StudyId id, uint32 round, address key) external view returns (bool) {
        return _studies[id].paidRounds[key].get(round);
    }

    /// @inheritdoc IWardRound
    function paidOf(StudyId id, uint32 round) external view returns (uint128 amount, uint32 count) {
        Paid storage paid = _studies[id].payments[round];
        return (paid.amount, paid.count);
    }

    /// @inheritdoc IWardRound
    function isFinal(StudyId id, uint32 round, Closing calldata closing)
        external
        view
        returns (bool)
    {
        Study storage s = _known(id);
        s.checkCommitment(id, round, closing);
        return s.isFinal(round, closing.closedAt);
    }

    /// @inheritdoc IWardRound
    function studyIdOf(StudyParams calldata params) public pure returns (StudyId) {
        return StudyId.wrap(keccak256(abi.encode(params)));
    }

    // ================================================================== inside

    function _known(StudyId id) internal view returns (Study storage s) {
        s = _studies[id];
        // Which no study is without, and most calls read.
        if (s.token == address(0)) revert WardRound_StudyUnknown(id);
    }

    function _running(StudyId id) internal view returns (Study storage s) {
        s = _known(id);
        if (s.head == 0) revert WardRound_StudyNotOpen(id);
        if (s.head > s.rounds) revert WardRound_StudyOver(id, s.rounds);
    }
}

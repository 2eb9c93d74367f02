// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Commitment, CoordinateProof, Tally, TallyStart} from "./CourtTypes.sol";
import {IAnnexed} from "./IAnnexed.sol";
import {ICourtBase} from "./ICourtBase.sol";
import {Closing, StudyId} from "./WardRoundTypes.sol";

/// @title Challenges
/// @notice What proves a round wrong by its own data: the part of the court that is in its own code.
interface IChallenges is ICourtBase, IAnnexed {
    // ------------------------------------------------------------------ challenges

    /// @notice A coordinate of the model is not what the rule gives, or no model can hold that: it
    /// is out of range, or one of the updates to be summed exceeds the study's bound.
    /// @param entries All of the record's, packed.
    function challengeCoordinate(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        bytes calldata entries,
        CoordinateProof calldata proof
    ) external;

    /// @notice An entry of the record is malformed, not a member's, out of its weight's range or
    /// not signed.
    /// @param path Inclusion path of the entry in the record's contributions.
    function challengeEntry(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        bytes calldata entry,
        uint32 index,
        bytes32[] calldata path
    ) external;

    /// @notice Two neighbouring entries are of one site, or not ascending by site.
    /// @param index Of the first; the second is at index + 1.
    function challengeOrder(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        bytes calldata first,
        bytes calldata second,
        uint32 index,
        bytes32[] calldata firstPath,
        bytes32[] calldata secondPath
    ) external;

    /// @notice The record's count or total weight is not that of its entries.
    function challengeTotals(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        bytes calldata entries
    ) external;

    // ------------------------------------------------------------------ commitments

    /// @notice Commits to a challenge, against a deposit, so that a copy of it earns nothing. Until
    /// it is revealed, or ten minutes are over, an account that proves this closing wrong in the open, the
    /// caller too, overturns the round without a reward, and the round does not become final by time.
    /// @param commitment keccak256(abi.encode(caller, keccak256(data), salt)), where `data` calls
    /// this contract.
    function commitChallenge(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        bytes32 commitment
    ) external;

    /// @notice Makes a challenge that the caller committed to in an earlier block, or finishes a tally
    /// of its own that was complete when it committed to that. It must overturn the round. The deposit
    /// goes back, and the challenger has its part of the bond.
    function revealChallenge(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        bytes32 salt,
        bytes calldata data
    ) external;

    /// @notice Ends a commitment that was not revealed in time: its deposit goes to who closed the
    /// round or, if the round was overturned meanwhile, back. Anyone may call it.
    function closeCommitment(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        address challenger,
        bytes32 commitment
    ) external;

    // ------------------------------------------------------------------ tallies

    /// @notice Begins to count a round of more entries than one transaction carries, against a
    /// deposit. Holds the round's finality, as does each step.
    function openTally(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        TallyStart calldata start
    ) external returns (uint256 tally);

    /// @notice Counts the next entries. Only by who opened the tally.
    /// @param updates Openings of the coordinate's chunk, one an entry, under Multi-Krum one for each
    /// that it averages; empty without a coordinate.
    /// @param rows All rows of norms or of ranks that the rule takes; else empty.
    function addToTally(
        uint256 tally,
        bytes calldata entries,
        bytes calldata updates,
        bytes calldata rows
    ) external;

    /// @notice Overturns the round if, all its entries counted, the record is wrong. Then the
    /// deposit goes back.
    function finishTally(uint256 tally, Closing calldata closing) external;

    /// @notice Ends a tally that nothing extended in time: its deposit goes to who closed the round
    /// or, if the round was overturned meanwhile, back. Anyone may call it.
    function closeTally(uint256 tally, Closing calldata closing) external;

    // ------------------------------------------------------------------ views

    function tallyOf(uint256 tally) external view returns (Tally memory);

    /// @param closing keccak256(abi.encode(closing)).
    function commitmentOf(
        StudyId study,
        uint32 round,
        bytes32 closing,
        address challenger,
        bytes32 commitment
    ) external view returns (Commitment memory);
}

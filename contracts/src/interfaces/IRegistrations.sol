// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Standing, UpdateProof} from "./CourtTypes.sol";
import {ICourtBase} from "./ICourtBase.sol";
import {Closing, StudyId} from "./WardRoundTypes.sol";

/// @title Registrations
/// @notice Contributions that sites registered, rounds without them, and rounds with an update that no
/// coordinator may take in: a part of the court in its annex.
interface IRegistrations is ICourtBase {
    // ------------------------------------------------------------------ challenges

    /// @notice A site that registered its contribution in time is not in the record.
    /// @param index Where it would stand: the number of entries before it.
    /// @param before The entry at index - 1; empty when index is 0.
    /// @param behind The entry at index; empty when index is the record's count.
    function challengeOmission(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        address site,
        uint32 index,
        bytes calldata before,
        bytes calldata behind,
        bytes32[] calldata beforePath,
        bytes32[] calldata behindPath
    ) external;

    /// @notice An entry's update exceeds the study's bound or, added to the model, leaves the range of
    /// 32 bits: no coordinator may take it in.
    /// @param path Inclusion path of the entry in the record's contributions.
    function challengeUpdate(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        bytes calldata entry,
        uint32 index,
        bytes32[] calldata path,
        UpdateProof calldata proof
    ) external;

    // ------------------------------------------------------------------ registered contributions

    /// @notice Asks a site for chunks of the update it registered. Only by the active coordinator,
    /// while the round is open and not locked. If they are not shown by the deadline, the registration is void. Each
    /// demand moves the deadline of all that was not shown.
    /// It pays for what showing a chunk costs: the deposit, divided by the number of an update's
    /// chunks and rounded down, so a whole update takes no more than one deposit.
    /// @dev Costs at least a tenth of the gas that showing the chunks does, and showing one no less than
    /// a tenth of what demanding fifty does: contracts/test/CourtDemandGas.t.sol.
    /// No more than 64 chunks before any was shown, 51 more for each that was, and 3,000 that are not
    /// yet shown: neither a site that hides its bytes nor one that has to show them pays for much.
    /// @param first How many were demanded before.
    /// @param count How many are demanded now.
    function demandContribution(
        StudyId study,
        uint32 round,
        address site,
        uint32 first,
        uint32 count
    ) external;

    /// @notice Shows demanded chunks of a registered update, and is owed what was paid for those that
    /// were not shown before. Anyone may, up to the deadline.
    /// @param previous Commitment of the round before, on top of which it was registered.
    /// @param first Index of the first chunk: at most how many were shown before.
    /// @param data Chunks in their order, one behind the other.
    /// @param path Level by level from the chunks upwards: the sibling to the left of them, then the
    /// one to the right, where they have one.
    function answerContribution(
        StudyId study,
        uint32 round,
        bytes32 previous,
        bytes calldata entry,
        uint32 first,
        bytes calldata data,
        bytes32[] calldata path
    ) external;

    /// @notice Ends what is open about a registration. Anyone may call it. Once demanded chunks were
    /// not shown by the deadline, or the update was refused: gives the coordinator back what it paid
    /// for the missing ones and, while the round is open, the registration's deposit. Once the round is
    /// final, its base was overturned or the study ended before it: gives the sender its deposit back.
    /// @param closing Of the round; looked at only where it is closed and nothing is missing.
    function closeContribution(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        bytes32 previous,
        address site
    ) external;

    /// @notice Voids a registration whose update exceeds the study's bound or, added to the model,
    /// leaves the range of 32 bits. Its deposit goes to the coordinator that demanded its bytes or,
    /// where none did, to the caller.
    /// @param base Empty in a sum.
    function refuseContribution(
        StudyId study,
        uint32 round,
        Closing calldata previous,
        bytes calldata entry,
        uint32 coordinate,
        bytes calldata update,
        bytes calldata base
    ) external;

    // ------------------------------------------------------------------ views

    /// @param previous Commitment of the round before, on top of which it was registered.
    function standing(StudyId study, uint32 round, bytes32 previous, address site)
        external
        view
        returns (Standing memory);
}

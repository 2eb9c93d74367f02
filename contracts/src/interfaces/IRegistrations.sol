// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Standing} from "./CourtTypes.sol";
import {ICourtBase} from "./ICourtBase.sol";
import {Closing, StudyId} from "./WardRoundTypes.sol";

/// @title Registrations
/// @notice Contributions that sites registered, and rounds without them: a part of the court in its
/// annex.
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

    // ------------------------------------------------------------------ registered contributions

    /// @notice Asks a site for a chunk of the update it registered. Only by the active coordinator,
    /// while the round is open. If it is not shown by the deadline, the registration is void.
    function demandContribution(StudyId study, uint32 round, address site, uint32 chunk) external;

    /// @notice Shows a chunk of a registered update. Anyone may, up to the deadline.
    function answerContribution(
        StudyId study,
        uint32 round,
        bytes calldata entry,
        uint32 chunk,
        bytes calldata opening
    ) external;

    /// @notice Voids a registration whose update, added to the model, leaves the range of 32 bits,
    /// or, where updates are summed, exceeds the study's bound: no round could hold it.
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

    function standing(StudyId study, uint32 round, address site)
        external
        view
        returns (Standing memory);
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Demand, Target, What} from "./CourtTypes.sol";
import {ICourtBase} from "./ICourtBase.sol";
import {Closing, StudyId} from "./WardRoundTypes.sol";

/// @title Demands
/// @notice Data of closed rounds, demanded and shown: a part of the court in its annex.
interface IDemands is ICourtBase {
    // ------------------------------------------------------------------ demands

    /// @notice Demands that data of a closed round be shown, against a deposit; of the open round's
    /// lock no more than entries and chunks of updates.
    /// @dev Costs at least a tenth of the gas that the answer does, and no more than ten times as much:
    /// contracts/test/CourtDemandGas.t.sol.
    /// @param previous Read only to demand a chunk of the base, which a sum does not have.
    function demandChunk(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        Target calldata target
    ) external returns (bytes32 demand);

    /// @notice Shows what was demanded. Anyone may, up to the deadline, unless the round has been
    /// overturned meanwhile. Half of the deposit goes to who closed the round, the other half, with
    /// the odd unit, to the caller.
    /// @param opening The leaf and its path. For a named commitment's row, one behind the other: the
    /// openings of the commitment, of the row and, except of ranks, of the page.
    function answerDemand(bytes32 demand, Closing calldata closing, bytes calldata opening) external;

    /// @notice Overturns the round whose data was not shown by the deadline or, if it can no longer be
    /// overturned, ends the demand; so also where a lock's round was closed meanwhile. The demander has
    /// the deposit back either way, and its part of the bond, also when another account has committed to
    /// a challenge: no other account is paid for the demand.
    function closeDemand(bytes32 demand, Closing calldata closing) external;

    // ------------------------------------------------------------------ views

    function demandOf(bytes32 demand) external view returns (Demand memory);

    function demandIdOf(
        StudyId study,
        uint32 round,
        bytes32 commitment,
        What what,
        uint32 index,
        uint32 entryIndex
    ) external pure returns (bytes32);
}

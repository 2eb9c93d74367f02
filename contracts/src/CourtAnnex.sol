// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Bench} from "./court/Bench.sol";
import {Demands} from "./court/Demands.sol";
import {Registrations} from "./court/Registrations.sol";
import {Scores} from "./court/Scores.sol";
import {IWardRound} from "./interfaces/IWardRound.sol";

/// @title CourtAnnex
/// @notice The part of the court that does not fit into its own code: see Annexed.
/// @dev Called at its own address it judges nothing: WardRound obeys the Court alone.
contract CourtAnnex is Demands, Registrations, Scores {
    /// @param ward As the Court's, whose constructor compares both.
    constructor(IWardRound ward) Bench(ward) {}
}

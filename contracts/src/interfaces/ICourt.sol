// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

// With the types, so that they can be imported from here too.
import "./CourtTypes.sol";
import {IChallenges} from "./IChallenges.sol";
import {IDemands} from "./IDemands.sol";
import {IRegistrations} from "./IRegistrations.sol";
import {IScores} from "./IScores.sol";

/// @title Court
/// @notice Where a closed round that breaks its study's rules is proven wrong, by anyone with the
/// data. A proof that holds overturns the round in the same transaction; one that does not reverts.
/// The open round's lock is such a closing, without a model.
/// @dev `closing` is the challenged round's, `previous` that of the round before.
/// These parts are one contract to its callers. Of the code all but the first are in the annex.
interface ICourt is IChallenges, IDemands, IRegistrations, IScores {
    /// @notice Makes several calls of the court as the caller, in order; all of them or none. Demands come
    /// in hundreds, and answers have to be there in time.
    /// @dev Source: OpenZeppelin, Multicall.
    function multicall(bytes[] calldata data) external returns (bytes[] memory results);
}

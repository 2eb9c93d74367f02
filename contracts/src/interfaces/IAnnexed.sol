// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Annexed
/// @notice A contract whose code is in two places.
interface IAnnexed {
    /// Without code a call of it would succeed, and do nothing.
    error Annexed_NoCode(address annex);

    /// @notice Where the code of its second part is. It runs on this contract's storage.
    function ANNEX() external view returns (address);
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAnnexed} from "./interfaces/IAnnexed.sol";

/// @title Annexed
/// @notice A contract whose code is in two places, since one has room for 24,576 bytes (EIP-170):
/// what it has no function for, it lets its annex's code do, on its own storage and as itself.
/// @dev No upgradeable proxy: the annex's address is in this code for ever. The annex reverts on what
/// it has no function for either.
abstract contract Annexed is IAnnexed {
    /// @inheritdoc IAnnexed
    address public immutable ANNEX;

    constructor(address annex) {
        if (annex.code.length == 0) revert Annexed_NoCode(annex);
        ANNEX = annex;
    }

    fallback() external {
        address annex = ANNEX;
        assembly ("memory-safe") {
            let at := mload(0x40)
            calldatacopy(at, 0, calldatasize())
            let done := delegatecall(gas(), annex, at, calldatasize(), 0, 0)
            returndatacopy(at, 0, returndatasize())
            if iszero(done) { revert(at, returndatasize()) }
            return(at, returndatasize())
        }
    }
}

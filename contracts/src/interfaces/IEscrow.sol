// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title Escrow
/// @notice Holds the tokens of one study: rewards, bonds and deposits.
interface IEscrow {
    error Escrow_NotWard(address caller);

    /// @notice Pays tokens out. Only by the contract that created the escrow.
    function pay(IERC20 token, address to, uint256 amount) external;

    /// @notice The contract that created the escrow.
    function WARD() external view returns (address);
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IEscrow} from "./interfaces/IEscrow.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title Escrow
/// @notice Holds the tokens of one study, so that its token can harm no other study.
/// @dev WardRound creates it once, and a clone of it (EIP-1167) a study. It keeps nothing in storage,
/// so a clone needs no initialiser: whose it is, is in the code that all clones run.
contract Escrow is IEscrow {
    using SafeERC20 for IERC20;

    /// @inheritdoc IEscrow
    address public immutable WARD = msg.sender;

    /// @inheritdoc IEscrow
    function pay(IERC20 token, address to, uint256 amount) external {
        if (msg.sender != WARD) revert Escrow_NotWard(msg.sender);

        token.safeTransfer(to, amount);
    }
}

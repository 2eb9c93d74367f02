// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IWardRoundBase} from "../interfaces/IWardRoundBase.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title Deposits
/// @notice Moves tokens into an escrow, exactly as many as are asked for.
library Deposits {
    using SafeERC20 for IERC20;

    /// @dev Of a token that keeps a fee, the escrow would hold less than its study counts on.
    /// @param from The caller of the entry point: an allowance is used for no other account.
    function pull(address token, address from, address escrow, uint256 amount) internal {
        uint256 before = IERC20(token).balanceOf(escrow);
        IERC20(token).safeTransferFrom(from, escrow, amount);
        uint256 received = IERC20(token).balanceOf(escrow) - before;
        if (received != amount) {
            revert IWardRoundBase.WardRound_TransferInexact(token, amount, received);
        }
    }
}

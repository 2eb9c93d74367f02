// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IWardRound} from "../interfaces/IWardRound.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title Deposits
/// @notice Takes the caller's tokens, exactly as many as are asked for.
library Deposits {
    using SafeERC20 for IERC20;

    /// @dev Tokens that keep a fee would leave other studies of the same token short.
    function pull(address token, uint256 amount) internal {
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = IERC20(token).balanceOf(address(this)) - before;
        if (received != amount) {
            revert IWardRound.WardRound_TransferInexact(token, amount, received);
        }
    }
}

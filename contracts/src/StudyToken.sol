// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title StudyToken
/// @notice A plain ERC-20 for demonstrations and tests. A real study names a token people hold.
contract StudyToken is ERC20 {
    /// @param supply Smallest units minted to the deployer.
    constructor(uint256 supply) ERC20("Study Token", "STUDY") {
        _mint(msg.sender, supply);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Annexed} from "./Annexed.sol";
import {Bench} from "./court/Bench.sol";
import {Challenges} from "./court/Challenges.sol";
import {Commitments} from "./court/Commitments.sol";
import {ICourtBase} from "./interfaces/ICourtBase.sol";
import {IWardRound} from "./interfaces/IWardRound.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";

/// @title Court
/// @notice Where a closed round that breaks its study's rules is proven wrong.
/// @dev Every challenge reads: what is accused, the proof, the verdict. Loops run over calldata
/// only. No token is called where a round is overturned, so no token can keep one from it.
contract Court is Annexed, Challenges, Commitments, Multicall {
    /// @param ward Where WardRound will be: the deployer's next contract. WardRound's constructor
    /// checks it, so a court with a wrong one belongs to no WardRound.
    /// @param annex A CourtAnnex of the same WardRound, deployed before.
    constructor(IWardRound ward, ICourtBase annex) Annexed(address(annex)) Bench(ward) {
        if (address(annex.WARD()) != address(ward)) revert Court_AnnexDiffers(address(annex));
    }
}

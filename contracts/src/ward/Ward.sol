// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {StudyId} from "../interfaces/IWardRound.sol";
import {IWardRoundBase} from "../interfaces/IWardRoundBase.sol";
import {Study} from "../libraries/Studies.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title Ward
/// @notice What both parts of WardRound stand on: all of its storage, and who signs.
/// @dev No other contract of either part has storage, so both have one layout.
abstract contract Ward is EIP712, IWardRoundBase {
    /// Sums of weight times coordinate stay exact in 64 bits below this total.
    uint64 internal constant TOTAL_WEIGHT_LIMIT = 2 ** 31;

    mapping(StudyId => Study) internal _studies;

    // The annex runs as WardRound, whose address OpenZeppelin then reads: one domain for both.
    constructor() EIP712("wardround", "2") {}

    function _known(StudyId id) internal view returns (Study storage s) {
        s = _studies[id];
        // Which no study is without, and most calls read.
        if (s.token == address(0)) revert WardRound_StudyUnknown(id);
    }

    function _running(StudyId id) internal view returns (Study storage s) {
        s = _known(id);
        if (s.head == 0) revert WardRound_StudyNotOpen(id);
        if (s.head > s.rounds) revert WardRound_StudyOver(id, s.rounds);
    }

    /// Whether an account has signed, with its key or as a contract (ERC-1271).
    function _isSigned(address account, bytes32 digest, bytes memory signature)
        internal
        view
        returns (bool)
    {
        // The key first: to ask an account for its code costs 2,600 gas, and an account may have
        // both (EIP-7702).
        (address recovered, ECDSA.RecoverError fault,) = ECDSA.tryRecover(digest, signature);
        if (fault == ECDSA.RecoverError.NoError && recovered == account) return true;
        return SignatureChecker.isValidERC1271SignatureNow(account, digest, signature);
    }
}

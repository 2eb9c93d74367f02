// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "../interfaces/IChallenges.sol";
import {Commitment, ICourt} from "../interfaces/ICourt.sol";
import {Closing, StudyId, Terms} from "../interfaces/IWardRound.sol";
import {Tallies} from "./Tallies.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";

/// @title Commitments
/// @notice Challenges that are committed to first and shown later, so that a copy earns nothing.
/// @dev A copier sees a challenge when it is revealed. In the open its copy earns nothing then. Its own
/// commitment would be of the same block or a later one, and can be revealed only in the block after
/// that. Nor can it commit to a tally that it fills only when it sees the reveal.
abstract contract Commitments is Tallies {
    /// Time to send a second transaction, also on a busy chain.
    uint64 internal constant REVEAL_SECONDS = 10 minutes;

    // ================================================================== commitments

    /// @inheritdoc IChallenges
    function commitChallenge(StudyId id, uint32 round, Closing calldata closing, bytes32 commitment)
        external
    {
        bytes32 closed = _checkAccused(id, round, closing);
        bytes32 accused = _accusedOf(id, round, closed);
        Commitment storage mine = _commitments[_keyOf(accused, msg.sender, commitment)];
        if (mine.until != 0) revert Court_AlreadyCommitted(commitment);
        Terms memory s = _termsOf(id);
        uint64 until = uint64(block.timestamp) + REVEAL_SECONDS;

        mine.until = until;
        mine.open = true;
        _reserved[accused] = until;
        emit Committed(id, round, msg.sender, closed, commitment, until);
        WARD.hold(id, round, until + 1);
        _takeDeposit(id, s);
    }

    /// @inheritdoc IChallenges
    function revealChallenge(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        bytes32 salt,
        bytes calldata data
    ) external {
        bytes32 closed = _checkAccused(id, round, closing);
        bytes32 accused = _accusedOf(id, round, closed);
        bytes32 commitment = keccak256(abi.encode(msg.sender, keccak256(data), salt));
        Commitment storage mine = _commitments[_keyOf(accused, msg.sender, commitment)];
        if (!mine.open) revert Court_NotCommitted(commitment);
        if (block.timestamp > mine.until) revert Court_TooLate(mine.until);
        uint256 from = mine.until - REVEAL_SECONDS + 1;
        if (block.timestamp < from) revert Court_TooEarly(from);

        // forge-lint: disable-next-line(unsafe-typecast)
        bytes4 entry = bytes4(data);
        // A batch could hold the call that is looked at next, and proves no more than its parts.
        if (entry == ICourt.multicall.selector) revert Court_NotOverturned(id, round);
        // This call names a tally by its number alone; any other holds all of its proof.
        if (entry == IChallenges.finishTally.selector) {
            _checkCounted(uint256(bytes32(data[4:])), from - 1);
        }

        mine.open = false;
        // Its author is paid, whichever other accounts have committed.
        _reserved[accused] = 0;
        _returnDeposit(id, msg.sender);
        emit Revealed(id, round, msg.sender, commitment);
        // The caller stays the caller: it can do nothing here that it could not do without.
        Address.functionDelegateCall(address(this), data);
        if (!_isOverturned(id, round, closed)) revert Court_NotOverturned(id, round);
    }

    /// @inheritdoc IChallenges
    function closeCommitment(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        address challenger,
        bytes32 commitment
    ) external {
        bytes32 closed = _commitmentOf(closing);
        bytes32 key = _keyOf(_accusedOf(id, round, closed), challenger, commitment);
        Commitment storage made = _commitments[key];
        if (!made.open) revert Court_NotCommitted(commitment);
        bool overturned = _isOverturned(id, round, closed);
        if (!overturned && block.timestamp <= made.until) revert Court_TooEarly(made.until);

        made.open = false;
        address to = overturned ? challenger : closing.coordinator;
        emit CommitmentClosed(id, round, challenger, commitment, to);
        _returnDeposit(id, to);
    }

    /// @inheritdoc IChallenges
    function commitmentOf(
        StudyId id,
        uint32 round,
        bytes32 closing,
        address challenger,
        bytes32 commitment
    ) external view returns (Commitment memory) {
        return _commitments[_keyOf(_accusedOf(id, round, closing), challenger, commitment)];
    }

    /// With the challenger, or a copy of a commitment would keep its author from making it.
    function _keyOf(bytes32 accused, address challenger, bytes32 commitment)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(accused, challenger, commitment));
    }
}

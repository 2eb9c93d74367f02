// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title What the ledger's tests need from a contract
contract Probe {
    error Probe__Locked(uint64 until, bytes32 code);
    event Counted(address indexed sender, uint256 count, bytes note);

    uint256 public count;
    uint256 public openedAt = block.timestamp;
    mapping(uint256 => uint256) private slots;

    function increment(bytes calldata note) external {
        emit Counted(msg.sender, ++count, note);
    }
    function unlock(uint64 until, bytes32 code) external {
        if (block.timestamp < until) revert Probe__Locked(until, code);
        emit Counted(msg.sender, ++count, "");
    }
    function locked(uint64 until, bytes32 code) external view returns (bool) {
        if (block.timestamp < until) revert Probe__Locked(until, code);
        return true;
    }
    function complain(string calldata why) external pure { revert(why); }
    function divide(uint256 by) external view returns (uint256) { return count / by; }
    function silent() external pure { assembly { revert(0, 0) } }
    function burn(uint256 words) external {
        for (uint256 i; i < words; ++i) slots[count * 10_000 + i] = i + 1;
        ++count;
    }
    function now_() external view returns (uint256) { return block.timestamp; }
    /// Recovers the same signature `times` times, as full recording does once a site.
    function recover(bytes32 digest, uint8 v, bytes32 r, bytes32 s, uint256 times) external {
        for (uint256 i; i < times; ++i) {
            address signer = ecrecover(digest, v, r, s);
            emit Counted(signer, ++count, abi.encode(digest, i));
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ScoreScene} from "./ScoreScene.sol";

/// What calls cost whole, with a million parameters. Vectors are trees whose one opened chunk is
/// real and whose other branches are hashes, which cost the same.
abstract contract GasScene is ScoreScene {
    uint32 internal constant PARAMETERS = 1_000_000;
    /// No transaction carries more (EIP-7825).
    uint256 internal constant TRANSACTION_LIMIT = 2 ** 24;
    uint256 internal constant CHUNKS = 3907;
    uint256 internal constant CHUNK = 1234;

    /// The root over a chunk of random bytes, somewhere in the tree, and its opening.
    function wideOpening(string memory seed) internal pure returns (bytes32, bytes memory) {
        return openingAt(randomBytes(seed, 1024), seed, CHUNK, CHUNKS);
    }

    function randomBytes(string memory seed, uint256 length)
        internal
        pure
        returns (bytes memory data)
    {
        data = new bytes(length);
        for (uint256 i = 0; i < length / 32; ++i) {
            setWord(data, i, uint256(keccak256(abi.encode(seed, i))));
        }
    }

    /// The root over a leaf at a place of a tree whose other branches are hashes, and its opening.
    function openingAt(bytes memory leaf, string memory seed, uint256 index, uint256 size)
        internal
        pure
        returns (bytes32 hash, bytes memory opened)
    {
        opened = leaf;
        hash = leafOf(leaf);
        uint256 last = size - 1;
        for (uint256 i = 0; last != 0; ++i) {
            if (index % 2 == 1 || index != last) {
                bytes32 sibling = keccak256(abi.encode(seed, "sibling", i));
                opened = bytes.concat(opened, sibling);
                hash = index % 2 == 1
                    ? sha256(abi.encodePacked(hex"01", sibling, hash))
                    : sha256(abi.encodePacked(hex"01", hash, sibling));
            }
            (index, last) = (index / 2, last / 2);
        }
    }

    function joined(bytes[] memory parts) internal pure returns (bytes memory all) {
        uint256 size = parts[0].length;
        all = new bytes(size * parts.length);
        for (uint256 i = 0; i < parts.length; ++i) {
            copyWords({from: parts[i], start: 0, to: all, place: i * size, length: size});
        }
    }

    /// Calls as a transaction of its own, and keeps what it costs.
    function measure(string memory name, uint256 sites, address to, bytes memory call)
        internal
        returns (bytes memory result)
    {
        uint256 gas;
        (gas, result) = transact(CHALLENGER, to, call);
        assertLe(gas, TRANSACTION_LIMIT, "one transaction");
        vm.snapshotValue(string.concat(name, "-", vm.toString(sites)), gas);
    }
}

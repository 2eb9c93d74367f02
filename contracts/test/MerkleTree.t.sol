// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {MerkleTree} from "../src/libraries/MerkleTree.sol";
import {Trees} from "./Trees.sol";

contract MerkleTreeTest is Trees {
    string internal json;

    function setUp() public {
        json = vm.readFile("../tests/vectors/merkle.json");
    }

    // ------------------------------------------------------------------ library, from outside

    function leafHash(bytes calldata data) external view returns (bytes32) {
        return MerkleTree.leafHash(data);
    }

    function verify(
        bytes32 expected,
        bytes32 leaf,
        uint256 index,
        uint256 size,
        bytes32[] calldata path
    ) external view returns (bool) {
        return MerkleTree.verify(expected, leaf, index, size, path);
    }

    // ------------------------------------------------------------------ vectors

    function test_root_matchesCertificateTransparency() public view {
        string[] memory entries = vm.parseJsonStringArray(json, ".certificate_transparency.entries");
        for (uint256 size = 1; size <= entries.length; ++size) {
            bytes32[] memory leaves = new bytes32[](size);
            for (uint256 i = 0; i < size; ++i) {
                leaves[i] = this.leafHash(bytesOf(entries[i]));
            }
            string memory key = string.concat(".certificate_transparency.roots.", vm.toString(size));
            assertEq(MerkleTree.root(leaves), digestAt(key), "root");
        }
    }

    function test_rootAndProofs_matchVectors() public view {
        uint256 vectors;
        for (; vm.keyExistsJson(json, vectorKey(vectors)); ++vectors) {
            string memory key = vectorKey(vectors);
            bytes32[] memory leaves = contentLeaves(
                vm.parseJsonUint(json, string.concat(key, ".bytes")),
                vm.parseJsonUint(json, string.concat(key, ".seed"))
            );
            uint256 size = leaves.length;
            assertEq(size, vm.parseJsonUint(json, string.concat(key, ".leaves")), "leaves");
            bytes32 root = digestAt(string.concat(key, ".root"));
            for (uint256 i = 0; vm.keyExistsJson(json, proofKey(key, i)); ++i) {
                string memory proof = proofKey(key, i);
                uint256 leaf = vm.parseJsonUint(json, string.concat(proof, ".leaf"));
                string[] memory path = vm.parseJsonStringArray(json, string.concat(proof, ".path"));
                assertTrue(
                    this.verify(root, leaves[leaf], leaf, size, digestsOf(path)), "proof accepted"
                );
            }
            assertEq(MerkleTree.root(leaves), root, "root");
        }
        assertEq(vectors, 8, "every vector was read");
    }

    // ------------------------------------------------------------------ properties

    function test_root_whenEmpty() public view {
        assertEq(MerkleTree.root(new bytes32[](0)), sha256(""), "RFC 9162: the hash of nothing");
    }

    function testFuzz_root_isTheRecursiveDefinition(uint256 size, uint256 seed) public view {
        bytes32[] memory leaves = randomLeaves(bound(size, 1, 130), seed);
        bytes32 expected = recursiveRoot(leaves, 0, leaves.length);
        assertEq(MerkleTree.root(leaves), expected, "root");
    }

    function testFuzz_verify_acceptsEveryLeaf(uint256 size, uint256 index, uint256 seed)
        public
        view
    {
        bytes32[] memory leaves = randomLeaves(bound(size, 1, 130), seed);
        index = bound(index, 0, leaves.length - 1);
        bytes32 root = recursiveRoot(leaves, 0, leaves.length);
        bytes32[] memory path = pathOf(leaves, index, 0, leaves.length);
        assertTrue(this.verify(root, leaves[index], index, leaves.length, path), "accepted");
    }

    function testFuzz_verify_rejectsAnythingElse(
        uint256 size,
        uint256 index,
        uint256 seed,
        uint256 what,
        uint256 bit
    ) public view {
        bytes32[] memory leaves = randomLeaves(bound(size, 2, 130), seed);
        size = leaves.length;
        index = bound(index, 0, size - 1);
        bytes32 root = recursiveRoot(leaves, 0, size);
        bytes32 leaf = leaves[index];
        bytes32[] memory path = pathOf(leaves, index, 0, size);
        bytes32 flip = bytes32(bitAt(bound(bit, 0, 255)));

        what = bound(what, 0, 6);
        if (what == 0) leaf ^= flip;
        if (what == 1) root ^= flip;
        if (what == 2) path[bound(bit, 0, path.length - 1)] ^= flip;
        if (what == 3) index = (index + bound(bit, 1, size - 1)) % size;
        if (what == 4) index += size * bound(bit, 1, 100);
        if (what == 5) path = resized(path, path.length + 1);
        if (what == 6) path = resized(path, path.length - 1);
        assertTrue(!this.verify(root, leaf, index, size, path), "rejected");
    }

    function verifyRange(
        bytes32 expected,
        bytes32[] memory leaves,
        uint256 first,
        uint256 size,
        bytes32[] calldata path
    ) external view returns (bool) {
        return MerkleTree.verifyRange(expected, leaves, first, size, path);
    }

    function testFuzz_verifyRange_acceptsWhatFollowsAndNothingElse(
        uint256 size,
        uint256 first,
        uint256 count,
        uint256 seed,
        uint256 what
    ) public view {
        bytes32[] memory leaves = randomLeaves(bound(size, 1, 130), seed);
        size = leaves.length;
        first = bound(first, 0, size - 1);
        count = bound(count, 1, size - first);
        bytes32 root = recursiveRoot(leaves, 0, size);
        bytes32[] memory some = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            some[i] = leaves[first + i];
        }
        bytes32[] memory path = rangePath(leaves, first, count);
        assertTrue(this.verifyRange(root, some, first, size, path), "accepted");

        what = bound(what, 0, 5);
        if (what == 0) some[seed % count] ^= bytes32(uint256(1));
        if (what == 1) root ^= bytes32(uint256(1));
        if (what == 2) path = resized(path, path.length + 1);
        if (what == 3 && path.length > 0) path = resized(path, path.length - 1);
        else if (what == 3) ++first;
        if (what == 4) ++first;
        if (what == 5) some = resized(some, count + 1);
        assertTrue(!this.verifyRange(root, some, first, size, path), "rejected");
    }

    function test_verify_rejectsEmptyTree() public view {
        assertTrue(!this.verify(sha256(""), sha256(""), 0, 0, new bytes32[](0)), "rejected");
    }

    // ------------------------------------------------------------------ the slow, clear tree

    function recursiveRoot(bytes32[] memory leaves, uint256 from, uint256 to)
        internal
        pure
        returns (bytes32)
    {
        if (to - from == 1) return leaves[from];
        uint256 middle = from + split(to - from);
        return sha256(
            abi.encodePacked(
                hex"01", recursiveRoot(leaves, from, middle), recursiveRoot(leaves, middle, to)
            )
        );
    }

    function pathOf(bytes32[] memory leaves, uint256 index, uint256 from, uint256 to)
        internal
        pure
        returns (bytes32[] memory path)
    {
        if (to - from == 1) return new bytes32[](0);
        uint256 middle = from + split(to - from);
        bool left = index < middle;
        path = left ? pathOf(leaves, index, from, middle) : pathOf(leaves, index, middle, to);
        path = resized(path, path.length + 1);
        path[path.length - 1] =
            left ? recursiveRoot(leaves, middle, to) : recursiveRoot(leaves, from, middle);
    }

    function resized(bytes32[] memory list, uint256 size)
        internal
        pure
        returns (bytes32[] memory copy)
    {
        copy = new bytes32[](size);
        for (uint256 i = 0; i < size && i < list.length; ++i) {
            copy[i] = list[i];
        }
    }

    function randomLeaves(uint256 size, uint256 seed)
        internal
        pure
        returns (bytes32[] memory leaves)
    {
        leaves = new bytes32[](size);
        for (uint256 i = 0; i < size; ++i) {
            leaves[i] = keccak256(abi.encode(seed, i));
        }
    }

    /// The vectors' content rule: byte i is (31 i + 7 (i >> 8) + seed) mod 256.
    function contentLeaves(uint256 size, uint256 seed)
        internal
        view
        returns (bytes32[] memory leaves)
    {
        leaves = new bytes32[]((size + 1023) / 1024);
        for (uint256 leaf = 0; leaf < leaves.length; ++leaf) {
            uint256 from = leaf * 1024;
            uint256 length = size - from < 1024 ? size - from : 1024;
            bytes memory chunk = new bytes(length);
            for (uint256 i = 0; i < length; ++i) {
                uint256 offset = from + i;
                // The rule takes the sum modulo 256.
                // forge-lint: disable-next-line(unsafe-typecast)
                chunk[i] = bytes1(uint8(31 * offset + 7 * (offset >> 8) + seed));
            }
            leaves[leaf] = this.leafHash(chunk);
        }
    }

    // ------------------------------------------------------------------ reading

    function vectorKey(uint256 i) internal pure returns (string memory) {
        return string.concat(".vectors[", vm.toString(i), "]");
    }

    function proofKey(string memory vector, uint256 i) internal pure returns (string memory) {
        return string.concat(vector, ".proofs[", vm.toString(i), "]");
    }

    function bytesOf(string memory hexadecimal) internal pure returns (bytes memory) {
        return vm.parseBytes(string.concat("0x", hexadecimal));
    }

    function digestAt(string memory key) internal view returns (bytes32) {
        return vm.parseBytes32(string.concat("0x", vm.parseJsonString(json, key)));
    }

    function digestsOf(string[] memory texts) internal pure returns (bytes32[] memory list) {
        list = new bytes32[](texts.length);
        for (uint256 i = 0; i < texts.length; ++i) {
            list[i] = vm.parseBytes32(string.concat("0x", texts[i]));
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ChaCha20} from "../src/libraries/ChaCha20.sol";
import {Masks} from "../src/libraries/Masks.sol";
import {Base} from "./Base.sol";

contract MasksTest is Base {
    string internal json;
    Masks.KeyTree internal own;
    uint32 internal ownRound;
    uint32 internal ownSegment;
    bytes32 internal ownKey;
    bytes32[] internal ownPath;

    function setUp() public {
        json = vm.readFile("../tests/vectors/masking.json");
        own = treeAt(".keys[0]");
        ownRound = numberAt(".keys[0].opened[0]", ".round");
        ownSegment = numberAt(".keys[0].opened[0]", ".segment");
        ownKey = bytes32At(".keys[0].opened[0]", ".segment_key");
        ownPath = vm.parseJsonBytes32Array(json, ".keys[0].opened[0].path");
    }

    function treeAt(string memory key) private view returns (Masks.KeyTree memory) {
        return Masks.KeyTree(
            bytes32At(key, ".commitment"),
            numberAt(key, ".first_round"),
            numberAt(key, ".last_round"),
            numberAt(key, ".segments")
        );
    }

    function item(string memory list, uint256 i) private pure returns (string memory) {
        return string.concat(list, "[", vm.toString(i), "]");
    }

    function numberAt(string memory key, string memory name) private view returns (uint32) {
        return uint32(vm.parseJsonUint(json, string.concat(key, name)));
    }

    function bytes32At(string memory key, string memory name) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, string.concat(key, name));
    }

    // ------------------------------------------------------------------ library, from outside

    function isCommitted(
        Masks.KeyTree calldata tree,
        uint32 round,
        uint32 segment,
        bytes32 key,
        bytes32[] calldata path
    ) external view returns (bool) {
        return Masks.isCommitted(tree, round, segment, key, path);
    }

    // ------------------------------------------------------------------ vectors

    function test_keysAndStreams_matchVectors() public view {
        uint256 opened;
        for (uint256 i = 0; vm.keyExistsJson(json, item(".keys", i)); ++i) {
            string memory key = item(".keys", i);
            Masks.KeyTree memory tree = treeAt(key);
            bytes32 base = bytes32At(key, ".base_model");
            string memory list = string.concat(key, ".opened");
            for (uint256 j = 0; vm.keyExistsJson(json, item(list, j)); ++j) {
                assertOpened(tree, base, item(list, j));
                ++opened;
            }
        }
        assertLe(3, opened, "vectors were read");
    }

    function assertOpened(Masks.KeyTree memory tree, bytes32 base, string memory key) private view {
        (uint32 round, uint32 segment) = (numberAt(key, ".round"), numberAt(key, ".segment"));
        bytes32 opened = bytes32At(key, ".segment_key");
        bytes32[] memory path = vm.parseJsonBytes32Array(json, string.concat(key, ".path"));
        assertTrue(this.isCommitted(tree, round, segment, opened, path), "its own key");
        bytes32 other = bytes32(uint256(opened) ^ 1);
        assertTrue(!this.isCommitted(tree, round, segment, other, path), "another key");
        assertTrue(!this.isCommitted(tree, round + 1, segment, opened, path), "another round");
        assertTrue(!this.isCommitted(tree, round, segment + 1, opened, path), "another segment");

        uint32 attempt = numberAt(key, ".attempt");
        bytes32 stream = Masks.streamKey(opened, base, attempt);
        assertEq(stream, bytes32At(key, ".stream_key"), "the stream's key");
        string memory blocks = string.concat(key, ".blocks");
        for (uint256 i = 0; vm.keyExistsJson(json, item(blocks, i)); ++i) {
            uint32 counter = numberAt(item(blocks, i), ".counter");
            bytes memory expected =
                vm.parseJsonBytes(json, string.concat(item(blocks, i), ".block"));
            assertBlock(stream, counter, expected);
            uint64 mask = Masks.maskAt(opened, base, attempt, 8 * uint256(counter));
            assertEq(mask, littleEndian(expected, 0), "a coordinate's mask");
        }
    }

    function assertBlock(bytes32 stream, uint32 counter, bytes memory expected) private pure {
        (bytes32 first, bytes32 second) = ChaCha20.keyBlock(stream, counter, 0);
        assertEq(keccak256(abi.encode(first, second)), keccak256(expected), "a block");
        for (uint256 i = 0; i < 8; ++i) {
            uint64 found = ChaCha20.word(stream, 8 * uint256(counter) + i);
            assertEq(found, littleEndian(expected, 8 * i), "a coordinate");
        }
    }

    function littleEndian(bytes memory data, uint256 from) private pure returns (uint256 value) {
        for (uint256 i = 0; i < 8; ++i) {
            value |= uint256(uint8(data[from + i])) << (8 * i);
        }
    }

    /// The columns of `places`: coordinate, segment, block and word in it.
    function test_places_matchVectors() public view {
        uint256 read;
        for (uint256 i = 0; vm.keyExistsJson(json, item(".segments", i)); ++i) {
            string memory key = item(".segments", i);
            uint256 size = 128 * vm.parseJsonUint(json, string.concat(key, ".chunks_each"));
            string memory list = string.concat(key, ".places");
            for (uint256 j = 0; vm.keyExistsJson(json, item(list, j)); ++j) {
                uint256[] memory row = vm.parseJsonUintArray(json, item(list, j));
                (uint256 segment, uint256 index) = Masks.place(row[0], size);
                assertEq(segment, row[1], "segment");
                assertEq(index, 8 * row[2] + row[3], "index");
                ++read;
            }
        }
        assertLe(20, read, "vectors were read");
    }

    function testFuzz_isCommitted_ofTheSetupAlone(uint32 round, uint32 segment) public view {
        if (round == ownRound && segment == ownSegment) return;
        assertTrue(!this.isCommitted(own, round, segment, ownKey, ownPath), "of no other place");
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {CompactRange} from "../src/libraries/CompactRange.sol";
import {MerkleTree} from "../src/libraries/MerkleTree.sol";
import {Vectors} from "../src/libraries/Vectors.sol";
import {CourtScene} from "./CourtScene.sol";

contract VectorsTest is CourtScene {
    // Every narrowed number was bounded above, or is fuzz whose upper bits may go.
    // forge-lint: disable-start(unsafe-typecast)
    function setUp() public override {}

    // ------------------------------------------------------------------ library, from outside

    function valueAt(bytes calldata chunk, uint256 start, uint256 width)
        external
        pure
        returns (int256)
    {
        return Vectors.valueAt(chunk, start, width);
    }

    function isIncluded(
        bytes calldata opened,
        uint256 length,
        bytes32 root,
        uint256 index,
        uint256 size
    ) external view returns (bool) {
        return Vectors.isIncluded(opened, length, root, index, size);
    }

    // ------------------------------------------------------------------ chunks

    function testFuzz_chunks_coverTheVector(uint32 parameterCount, bool wide) public pure {
        vm.assume(parameterCount > 0);
        uint256 length = uint256(parameterCount) * (wide ? 8 : 4);
        uint256 size = Vectors.chunks(length);
        uint256 last = Vectors.chunkLength(length, size - 1);
        assertTrue(last > 0 && last <= 1024, "the last one may be short");
        assertEq((size - 1) * 1024 + last, length, "every byte");
        if (size > 1) assertEq(Vectors.chunkLength(length, 0), 1024, "a whole one");
    }

    function testFuzz_valueAt_readsEveryCoordinate(int32[] memory vector, uint256 coordinate)
        public
        view
    {
        vm.assume(vector.length > 0);
        coordinate = bound(coordinate, 0, vector.length - 1);
        bytes memory chunk = chunkOf(bytesOf(vector), coordinate / 256);
        assertTrue(this.valueAt(chunk, coordinate % 256 * 4, 4) == vector[coordinate], "value");
    }

    function testFuzz_valueAt_readsEveryWideCoordinate(int64[] memory vector, uint256 coordinate)
        public
        view
    {
        vm.assume(vector.length > 0);
        coordinate = bound(coordinate, 0, vector.length - 1);
        bytes memory chunk = chunkOf(wideBytesOf(vector), coordinate / 128);
        assertTrue(this.valueAt(chunk, coordinate % 128 * 8, 8) == vector[coordinate], "value");
    }

    function test_valueAt_theEdges() public view {
        assertTrue(this.valueAt(hex"00000080", 0, 4) == type(int32).min, "-2^31");
        assertTrue(this.valueAt(hex"ffffff7f", 0, 4) == type(int32).max, "2^31 - 1");
        assertTrue(this.valueAt(hex"00000000ffffffff", 4, 4) == -1, "-1");
        assertTrue(this.valueAt(hex"ffffff7fffffffff", 0, 4) == type(int32).max, "no byte more");
        assertTrue(this.valueAt(hex"0000000000000080", 0, 8) == type(int64).min, "-2^63");
        assertTrue(this.valueAt(hex"ffffffffffffff7f", 0, 8) == type(int64).max, "2^63 - 1");
        assertTrue(this.valueAt(hex"0000000000000000feffffffffffffff", 8, 8) == -2, "-2");
        assertTrue(this.valueAt(hex"0102030405060708", 0, 8) == 0x0807060504030201, "order");
    }

    // ------------------------------------------------------------------ openings

    function testFuzz_pathLength_isThatOfThePath(uint256 size, uint256 index) public pure {
        size = bound(size, 1, 200);
        index = bound(index, 0, size - 1);
        bytes32[] memory leaves = new bytes32[](size);
        assertEq(Vectors.pathLength(index, size), pathOf(leaves, index).length, "length");
    }

    function testFuzz_isIncluded_acceptsExactlyTheChunk(
        uint256 size,
        uint256 index,
        uint256 bit,
        uint256 what
    ) public view {
        bytes memory data = bytesOf(baseModel(bound(size, 1, 1100), 1 + size % 2 ** 128 * 3));
        uint256 chunks = (data.length + 1023) / 1024;
        index = bound(index, 0, chunks - 1);
        bytes32 root = vectorRoot(data);
        bytes memory opened = opening(data, index);
        uint256 length = chunkOf(data, index).length;
        assertTrue(this.isIncluded(opened, length, root, index, chunks), "accepted");

        what = bound(what, 0, 5);
        bit = bound(bit, 0, opened.length * 8 - 1);
        if (what == 0) opened[bit / 8] ^= bytes1(uint8(bitAt(bit % 8)));
        if (what == 1) opened = bytes.concat(opened, bytes32(bit));
        if (what == 2) opened = bytes.concat(opened, hex"00");
        if (what == 3) length = bit % length;
        if (what == 4) root ^= bytes32(bitAt(bit % 256));
        if (what == 5) index += chunks;
        assertTrue(!this.isIncluded(opened, length, root, index, chunks), "rejected");
    }

    // ------------------------------------------------------------------ compact ranges

    function testFuzz_compactRange_isTheTree(uint256 size, uint256 seed) public view {
        size = bound(size, 0, 200);
        bytes32[] memory leaves = new bytes32[](size);
        bytes32[] memory peaks = new bytes32[](CompactRange.LEVELS);
        for (uint256 i = 0; i < size; ++i) {
            leaves[i] = keccak256(abi.encode(seed, i));
            CompactRange.append(peaks, i, leaves[i]);
        }
        assertEq(CompactRange.root(peaks, size), MerkleTree.root(leaves), "root");
    }
    // forge-lint: disable-end(unsafe-typecast)
}

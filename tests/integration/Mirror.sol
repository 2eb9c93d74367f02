// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Earning, Record} from "src/interfaces/IWardRound.sol";
import {Aggregation} from "src/libraries/Aggregation.sol";
import {CompactRange} from "src/libraries/CompactRange.sol";
import {Earnings} from "src/libraries/Earnings.sol";
import {MerkleTree} from "src/libraries/MerkleTree.sol";
import {Vectors} from "src/libraries/Vectors.sol";

/// @notice Lets a test call what the contracts keep inside, so that Python can be compared with it.
contract Mirror {
    function mean(int32[] calldata values, uint64[] calldata weights)
        external
        pure
        returns (int256)
    {
        int256 sum;
        uint256 total;
        for (uint256 i = 0; i < values.length; ++i) {
            sum += int256(values[i]) * int256(uint256(weights[i]));
            total += weights[i];
        }
        return Aggregation.mean(sum, total);
    }

    function median(int256[] memory values) external pure returns (int256) {
        return Aggregation.median(Aggregation.sort(values));
    }

    function trimmedMean(int256[] memory values, uint256 cut) external pure returns (int256) {
        return Aggregation.trimmedMean(Aggregation.sort(values), cut);
    }

    function sum(int256[] memory values, uint32 bound) external pure returns (int256) {
        for (uint256 i = 0; i < values.length; ++i) {
            values[i] = Aggregation.bounded(values[i], bound);
        }
        return Aggregation.total(values);
    }

    function sorted(int256[] memory values) external pure returns (int256[] memory) {
        return Aggregation.sort(values);
    }

    function treeRoot(bytes calldata data, uint256 size) external view returns (bytes32) {
        bytes32[] memory leaves = new bytes32[]((data.length + size - 1) / size);
        for (uint256 i = 0; i < leaves.length; ++i) {
            leaves[i] = MerkleTree.leafHash(_part(data, size, i));
        }
        return MerkleTree.root(leaves);
    }

    function rangeRoot(bytes calldata data, uint256 size) external view returns (bytes32) {
        bytes32[] memory peaks = new bytes32[](CompactRange.LEVELS);
        uint256 count = (data.length + size - 1) / size;
        for (uint256 i = 0; i < count; ++i) {
            CompactRange.append(peaks, i, MerkleTree.leafHash(_part(data, size, i)));
        }
        return CompactRange.root(peaks, count);
    }

    function isIncluded(
        bytes calldata opening,
        uint256 leafLength,
        bytes32 root,
        uint256 index,
        uint256 size
    ) external view returns (bool) {
        return Vectors.isIncluded(opening, leafLength, root, index, size);
    }

    function place(uint256 vectorLength, uint256 index)
        external
        pure
        returns (uint256 chunks, uint256 length, uint256 siblings)
    {
        chunks = Vectors.chunks(vectorLength);
        length = Vectors.chunkLength(vectorLength, index);
        siblings = Vectors.pathLength(index, chunks);
    }

    function valueAt(bytes calldata chunk, uint256 start, uint256 width)
        external
        pure
        returns (int256)
    {
        return Vectors.valueAt(chunk, start, width);
    }

    function weightOf(Record calldata record, address site, Earning calldata earning)
        external
        view
        returns (uint64)
    {
        return Earnings.weightOf(record, site, earning);
    }

    function _part(bytes calldata data, uint256 size, uint256 index)
        private
        pure
        returns (bytes calldata)
    {
        uint256 end = (index + 1) * size;
        return data[index * size:end < data.length ? end : data.length];
    }
}

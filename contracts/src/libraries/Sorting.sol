// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Sorting
/// @notice A merge sort in memory.
/// @dev Not a quicksort: the accused chose the values, and could choose them so that sorting
/// them costs more gas than a transaction has.
library Sorting {
    /// @notice The values in ascending order. Takes over the array that it is given.
    function ascending(uint256[] memory values) internal pure returns (uint256[] memory) {
        uint256 size = values.length;
        uint256[] memory from = values;
        uint256[] memory to = new uint256[](size);
        for (uint256 width = 1; width < size; width *= 2) {
            for (uint256 start = 0; start < size; start += 2 * width) {
                _merge(
                    from, to, start, _least(start + width, size), _least(start + 2 * width, size)
                );
            }
            (from, to) = (to, from);
        }
        return from;
    }

    /// Merges [start, middle) and [middle, end), which are sorted.
    function _merge(
        uint256[] memory from,
        uint256[] memory to,
        uint256 start,
        uint256 middle,
        uint256 end
    ) private pure {
        // Places in memory instead of indices: the bounds are checked by the loops.
        assembly ("memory-safe") {
            let left := add(add(from, 0x20), shl(5, start))
            let leftEnd := add(add(from, 0x20), shl(5, middle))
            let right := leftEnd
            let rightEnd := add(add(from, 0x20), shl(5, end))
            let place := add(add(to, 0x20), shl(5, start))
            for {} and(lt(left, leftEnd), lt(right, rightEnd)) { place := add(place, 0x20) } {
                let l := mload(left)
                let r := mload(right)
                switch gt(l, r)
                case 0 {
                    mstore(place, l)
                    left := add(left, 0x20)
                }
                default {
                    mstore(place, r)
                    right := add(right, 0x20)
                }
            }
            for {} lt(left, leftEnd) { left := add(left, 0x20) } {
                mstore(place, mload(left))
                place := add(place, 0x20)
            }
            for {} lt(right, rightEnd) { right := add(right, 0x20) } {
                mstore(place, mload(right))
                place := add(place, 0x20)
            }
        }
    }

    function _least(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title ChaCha20
/// @notice The key stream of RFC 8439, section 2.3, block by block.
/// @dev The state is four rows of four words. A row is one number here, with word i of it in the 32
/// low bits of the i-th 64 bits, counted from the lowest, so that one instruction works on four words;
/// what it carries into the 32 bits above a word is masked away.
library ChaCha20 {
    /// @notice A coordinate of a mask: 64 bits of the stream with nonce zero, little-endian.
    /// @param key Of the stream.
    /// @param index Counted in words of 64 bits from the stream's beginning, below 2^35.
    function word(bytes32 key, uint256 index) internal pure returns (uint64 found) {
        // forge-lint: disable-next-line(unsafe-typecast)
        uint256[4] memory state = rows(key, uint32(index >> 3), 0);
        // A row is two of them.
        uint256 row = state[(index >> 1) & 3] >> ((index & 1) << 7);
        // forge-lint: disable-next-line(unsafe-typecast)
        found = uint64((row & 0xffffffff) | ((row >> 32) & 0xffffffff00000000));
    }

    /// @notice A block as its 64 bytes.
    function keyBlock(bytes32 key, uint32 counter, bytes12 nonce)
        internal
        pure
        returns (bytes32 first, bytes32 second)
    {
        uint256[4] memory state = rows(key, counter, nonce);
        first = bytes32((joined(state[0]) << 128) | joined(state[1]));
        second = bytes32((joined(state[2]) << 128) | joined(state[3]));
    }

    /// @notice A block as the four rows of its words.
    function rows(bytes32 key, uint32 counter, bytes12 nonce)
        internal
        pure
        returns (uint256[4] memory state)
    {
        uint256 swapped = swap(uint256(key));
        // "expand 32-byte k", the key, and the counter before the nonce.
        state[0] = 0x6b20657400000000_79622d3200000000_3320646e00000000_61707865;
        state[1] = parted(swapped >> 128);
        state[2] = parted(swapped & type(uint128).max);
        state[3] = (parted(swap(uint96(nonce))) & ~uint256(type(uint32).max)) | counter;
        assembly ("memory-safe") {
            let mask := 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff
            function turned(row, by, ones) -> to {
                to := and(or(shl(by, row), shr(sub(32, by), row)), ones)
            }
            // Four quarter rounds at once, section 2.1.
            function quarters(a, b, c, d, ones) -> a1, b1, c1, d1 {
                a1 := and(add(a, b), ones)
                d1 := turned(xor(d, a1), 16, ones)
                c1 := and(add(c, d1), ones)
                b1 := turned(xor(b, c1), 12, ones)
                a1 := and(add(a1, b1), ones)
                d1 := turned(xor(d1, a1), 8, ones)
                c1 := and(add(c1, d1), ones)
                b1 := turned(xor(b1, c1), 7, ones)
            }
            let a := mload(state)
            let b := mload(add(state, 0x20))
            let c := mload(add(state, 0x40))
            let d := mload(add(state, 0x60))
            for { let i := 0 } lt(i, 10) { i := add(i, 1) } {
                a, b, c, d := quarters(a, b, c, d, mask)
                // Rows move until the diagonals are columns, and back.
                b := or(shr(64, b), shl(192, b))
                c := or(shr(128, c), shl(128, c))
                d := or(shr(192, d), shl(64, d))
                a, b, c, d := quarters(a, b, c, d, mask)
                b := or(shr(192, b), shl(64, b))
                c := or(shr(128, c), shl(128, c))
                d := or(shr(64, d), shl(192, d))
            }
            mstore(state, and(add(mload(state), a), mask))
            mstore(add(state, 0x20), and(add(mload(add(state, 0x20)), b), mask))
            mstore(add(state, 0x40), and(add(mload(add(state, 0x40)), c), mask))
            mstore(add(state, 0x60), and(add(mload(add(state, 0x60)), d), mask))
        }
    }

    /// @dev 128 bits, the first word highest, as a row.
    function parted(uint256 words) private pure returns (uint256) {
        return ((words >> 96) & 0xffffffff) | (((words >> 64) & 0xffffffff) << 64)
            | (((words >> 32) & 0xffffffff) << 128) | ((words & 0xffffffff) << 192);
    }

    /// @dev A row as 16 bytes: its words little-endian, the first one highest.
    function joined(uint256 row) private pure returns (uint256) {
        return swap(
            ((row & 0xffffffff) << 96) | (((row >> 64) & 0xffffffff) << 64)
                | (((row >> 128) & 0xffffffff) << 32) | (row >> 192)
        );
    }

    /// @dev Turns the bytes of each 32 bits around.
    function swap(uint256 words) private pure returns (uint256 swapped) {
        uint256 odd = 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
        uint256 low = 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
        swapped = ((words & odd) << 8) | ((words >> 8) & odd);
        swapped = ((swapped & low) << 16) | ((swapped >> 16) & low);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ChaCha20} from "../src/libraries/ChaCha20.sol";
import {Base} from "./Base.sol";

contract ChaCha20Test is Base {
    function assertBlock(bytes32 key, uint32 counter, bytes12 nonce, bytes32 first, bytes32 second)
        private
        pure
    {
        (bytes32 found, bytes32 more) = ChaCha20.keyBlock(key, counter, nonce);
        assertEq(found, first, "the first half");
        assertEq(more, second, "the second half");
    }

    /// RFC 8439, section 2.3.2.
    function test_keyBlock_isTheExampleOfTheRfc() public pure {
        assertBlock(
            0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f,
            1,
            0x000000090000004a00000000,
            0x10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e,
            0xd2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e
        );
    }

    /// RFC 8439, appendix A.1, vectors 1 to 5.
    function test_keyBlock_areTheVectorsOfTheRfc() public pure {
        assertBlock(
            0,
            0,
            0,
            0x76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7,
            0xda41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586
        );
        assertBlock(
            0,
            1,
            0,
            0x9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed,
            0x29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f
        );
        assertBlock(
            bytes32(uint256(1)),
            1,
            0,
            0x3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a,
            0x8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0
        );
        assertBlock(
            bytes32(uint256(0xff) << 240),
            2,
            0,
            0x72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca,
            0x13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096
        );
        assertBlock(
            0,
            0,
            bytes12(uint96(2)),
            0xc2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7,
            0x8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d
        );
    }

    /// A word is eight bytes of its block, read from the other end.
    function testFuzz_word_isOfItsBlock(bytes32 key, uint32 counter, uint256 place) public pure {
        place = bound(place, 0, 7);
        uint256 index = 8 * uint256(counter) + place;
        (bytes32 first, bytes32 second) = ChaCha20.keyBlock(key, counter, 0);
        uint256 half = uint256(place < 4 ? first : second);
        uint256 expected;
        for (uint256 i = 0; i < 8; ++i) {
            uint256 from = 8 * (place % 4) + i;
            expected |= ((half >> (248 - 8 * from)) & 0xff) << (8 * i);
        }
        assertEq(ChaCha20.word(key, index), expected, "the coordinate");
    }

    function test_word_costs() public view {
        uint256 before = gasleft();
        ChaCha20.word(keccak256("key"), 12_345);
        assertLe(before - gasleft(), 9000, "gas of one coordinate");
    }
}

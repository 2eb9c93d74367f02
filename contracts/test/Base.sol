// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// The part of Foundry's cheat codes that these tests use. forge-std is not on npm.
interface Vm {
    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function deployCode(string calldata artifact, bytes calldata arguments)
        external
        returns (address);
    function getCode(string calldata artifact) external view returns (bytes memory);
    function getNonce(address account) external view returns (uint64);
    function computeCreateAddress(address deployer, uint256 nonce) external pure returns (address);
    function deal(address account, uint256 balance) external;
    function warp(uint256 timestamp) external;
    function prank(address sender) external;
    function startPrank(address sender) external;
    function stopPrank() external;
    function assume(bool condition) external pure;
    function expectRevert(bytes4 selector) external;
    function expectRevert(bytes calldata data) external;
    function expectEmit(address emitter) external;
    function readFile(string calldata path) external view returns (string memory);
    function parseBytes(string calldata text) external pure returns (bytes memory);
    function parseBytes32(string calldata text) external pure returns (bytes32);
    function parseUint(string calldata text) external pure returns (uint256);
    function parseAddress(string calldata text) external pure returns (address);
    function parseJsonUint(string calldata json, string calldata key)
        external
        pure
        returns (uint256);
    function parseJsonString(string calldata json, string calldata key)
        external
        pure
        returns (string memory);
    function parseJsonStringArray(string calldata json, string calldata key)
        external
        pure
        returns (string[] memory);
    function parseJsonUintArray(string calldata json, string calldata key)
        external
        pure
        returns (uint256[] memory);
    function parseJsonBytes32(string calldata json, string calldata key)
        external
        pure
        returns (bytes32);
    function parseJsonBytes32Array(string calldata json, string calldata key)
        external
        pure
        returns (bytes32[] memory);
    function parseJsonBytes(string calldata json, string calldata key)
        external
        pure
        returns (bytes memory);
    function keyExistsJson(string calldata json, string calldata key) external view returns (bool);
    function toString(uint256 value) external pure returns (string memory);
    /// What the last call took: gasTotalUsed comes second.
    function lastCallGas() external view returns (uint64, uint64, uint64, int64, uint64);
    function snapshotValue(string calldata name, uint256 value) external;
    function snapshotGasLastCall(string calldata name) external returns (uint256);

    function assertEq(uint256 left, uint256 right, string calldata claim) external pure;
    function assertEq(bytes32 left, bytes32 right, string calldata claim) external pure;
    function assertEq(address left, address right, string calldata claim) external pure;
    function assertTrue(bool condition, string calldata claim) external pure;
    function assertLe(uint256 left, uint256 right, string calldata claim) external pure;
}

/// What every test contract stands on.
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// Narrows a fuzzed number to a range, both ends included.
    function bound(uint256 x, uint256 low, uint256 high) internal pure returns (uint256) {
        if (x >= low && x <= high) return x;
        return low + x % (high - low + 1);
    }

    /// A word with one bit set, to flip one with.
    function bitAt(uint256 place) internal pure returns (uint256) {
        // The constant is what is shifted, on purpose.
        // forge-lint: disable-next-line(incorrect-shift)
        return 1 << place;
    }

    /// Which error a call reverted with.
    function selectorOf(bytes memory reason) internal pure returns (bytes32) {
        // Cutting off the arguments is what this is for.
        // forge-lint: disable-next-line(unsafe-typecast)
        return bytes32(bytes4(reason));
    }

    function assertEq(uint256 left, uint256 right, string memory claim) internal pure {
        vm.assertEq(left, right, claim);
    }

    function assertEq(bytes32 left, bytes32 right, string memory claim) internal pure {
        vm.assertEq(left, right, claim);
    }

    function assertEq(address left, address right, string memory claim) internal pure {
        vm.assertEq(left, right, claim);
    }

    function assertTrue(bool condition, string memory claim) internal pure {
        vm.assertTrue(condition, claim);
    }

    function assertLe(uint256 left, uint256 right, string memory claim) internal pure {
        vm.assertLe(left, right, claim);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICourt} from "../src/interfaces/ICourt.sol";
import {IWardRound} from "../src/interfaces/IWardRound.sol";
import {Scene} from "./Scene.sol";

/// WardRound and its court, which know each other from their constructors on.
contract DeploymentTest is Scene {
    /// Of creation code (EIP-3860).
    uint256 internal constant CODE_LIMIT = 49_152;

    function test_deployment_pairs() public view {
        assertEq(address(ward.COURT().WARD()), address(ward), "the court's contract");
    }

    function testFuzz_deployment_reverts_whenTheCourtNamesAnother(uint256 later) public {
        ICourt court = deployCourt(bound(later, 2, 1000));
        bytes memory reason = rejected(address(court));
        bytes memory expected =
            abi.encodeWithSelector(IWardRound.WardRound_CourtDiffers.selector, court);
        assertEq(keccak256(reason), keccak256(expected), "reason");
    }

    /// A court serves one contract, so a second one cannot be given it.
    function test_deployment_reverts_whenTheCourtIsTaken() public {
        bytes memory reason = rejected(address(ward.COURT()));
        assertEq(selectorOf(reason), bytes32(IWardRound.WardRound_CourtDiffers.selector), "reason");
    }

    /// WardRound cannot be deployed before its court.
    function testFuzz_deployment_reverts_withoutACourt(address court) public {
        vm.assume(court.code.length == 0 && uint160(court) > 0xffff);
        rejected(court);
    }

    function test_deployment_fits() public view {
        string[2] memory names = ["Court.sol:Court", "WardRound.sol:WardRound"];
        for (uint256 i = 0; i < 2; ++i) {
            bytes memory code = abi.encodePacked(vm.getCode(names[i]), abi.encode(address(ward)));
            assertLe(code.length, CODE_LIMIT, names[i]);
        }
    }

    /// Why a deployment of WardRound with that court reverts.
    function rejected(address court) internal returns (bytes memory reason) {
        bytes memory code =
            abi.encodePacked(vm.getCode("WardRound.sol:WardRound"), abi.encode(court));
        address made;
        assembly ("memory-safe") {
            made := create(0, add(code, 32), mload(code))
            reason := mload(0x40)
            mstore(reason, returndatasize())
            returndatacopy(add(reason, 32), 0, returndatasize())
            mstore(0x40, add(add(reason, 32), and(add(returndatasize(), 31), not(31))))
        }
        assertEq(made, address(0), "not deployed");
    }
}

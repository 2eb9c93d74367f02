// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAnnexed} from "../src/interfaces/IAnnexed.sol";
import {ICourt} from "../src/interfaces/ICourt.sol";
import {ICourtBase} from "../src/interfaces/ICourtBase.sol";
import {IStudies} from "../src/interfaces/IStudies.sol";
import {IWardRound, Recording, StudyParams} from "../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../src/interfaces/IWardRoundBase.sol";
import {Scene} from "./Scene.sol";

/// WardRound and its court, which know each other from their constructors on.
contract DeploymentTest is Scene {
    /// Of creation code (EIP-3860).
    uint256 internal constant CODE_LIMIT = 49_152;

    function test_deployment_pairs() public view {
        assertEq(address(ICourt(ward.COURT()).WARD()), address(ward), "the court's contract");
    }

    function testFuzz_deployment_reverts_whenTheCourtNamesAnother(uint256 later) public {
        ICourt court = deployCourt(bound(later, 2, 1000));
        bytes memory reason = rejected(address(court));
        bytes memory expected =
            abi.encodeWithSelector(IWardRoundBase.WardRound_CourtDiffers.selector, court);
        assertEq(keccak256(reason), keccak256(expected), "reason");
    }

    /// A court serves one contract, so a second one cannot be given it.
    function test_deployment_reverts_whenTheCourtIsTaken() public {
        bytes memory reason = rejected(ward.COURT());
        assertEq(
            selectorOf(reason), bytes32(IWardRoundBase.WardRound_CourtDiffers.selector), "reason"
        );
    }

    /// WardRound cannot be deployed before its court.
    function testFuzz_deployment_reverts_withoutACourt(address court) public {
        vm.assume(court.code.length == 0 && uint160(court) > 0xffff);
        rejected(court);
    }

    /// A court whose annex judges another contract's rounds would overturn them.
    function testFuzz_deployment_reverts_whenTheAnnexIsOfAnotherWard(address other) public {
        vm.assume(other != address(ward));
        address annex = vm.deployCode("CourtAnnex.sol:CourtAnnex", abi.encode(other));
        bytes memory reason = rejected("Court.sol:Court", abi.encode(ward, annex));
        bytes memory expected =
            abi.encodeWithSelector(ICourtBase.Court_AnnexDiffers.selector, annex);
        assertEq(keccak256(reason), keccak256(expected), "reason");
    }

    /// Calls of an account without code succeed.
    function testFuzz_deployment_reverts_withoutAnAnnex(address annex) public {
        vm.assume(annex.code.length == 0 && uint160(annex) > 0xffff);
        bytes memory expected = abi.encodeWithSelector(IAnnexed.Annexed_NoCode.selector, annex);
        ICourt court = deployCourt(1);
        bytes memory reason = rejected("WardRound.sol:WardRound", abi.encode(court, annex));
        assertEq(keccak256(reason), keccak256(expected), "WardRound");
        reason = rejected("Court.sol:Court", abi.encode(ward, annex));
        assertEq(keccak256(reason), keccak256(expected), "court");
    }

    // ------------------------------------------------------------------ calls of an annex

    /// What neither a contract nor its annex has a function for.
    function testFuzz_annex_revertsWithoutAReason_onAnyOtherCall(bytes memory data) public {
        address[2] memory called = [address(ward), ward.COURT()];
        for (uint256 i = 0; i < 2; ++i) {
            // Hashed, since the fuzzer also draws what it has seen: words that begin with a selector.
            bytes memory unknown = bytes.concat(bytes4(keccak256(data)), data);
            (bool done, bytes memory returned) = called[i].call(unknown);
            assertTrue(!done && returned.length == 0, "reverts");
            (done, returned) = called[i].call("");
            assertTrue(!done && returned.length == 0, "reverts without data");
        }
    }

    function testFuzz_annex_refusesEther(bytes4 selector, uint128 amount) public {
        amount = uint128(bound(amount, 1, type(uint128).max));
        vm.deal(address(this), 4 * uint256(amount));
        address[2] memory called = [address(ward), ward.COURT()];
        bytes4[3] memory selectors =
            [selector, IStudies.endStudy.selector, ICourtBase.WARD.selector];
        for (uint256 i = 0; i < 2; ++i) {
            for (uint256 j = 0; j < 3; ++j) {
                (bool done,) = called[i].call{value: amount}(abi.encode(selectors[j]));
                assertTrue(!done, "with data");
            }
            (bool sent,) = called[i].call{value: amount}("");
            assertTrue(!sent, "without");
        }
    }

    /// At its own address an annex has studies of its own, and no escrow for them.
    function test_annex_createsNothingByItself() public {
        IWardRound annex = IWardRound(ward.ANNEX());
        StudyParams memory params = sampleParams(Recording.Full);
        vm.prank(SPONSOR);
        try annex.createStudy(params, coordinators(), addresses(auditorKeys(3))) {
            assertTrue(false, "created");
        } catch (bytes memory reason) {
            assertEq(reason.length, 0, "no such function");
        }
    }

    // ------------------------------------------------------------------ size

    function test_deployment_fits() public view {
        string[4] memory names = [
            "Court.sol:Court",
            "CourtAnnex.sol:CourtAnnex",
            "WardRound.sol:WardRound",
            "WardRoundAnnex.sol:WardRoundAnnex"
        ];
        for (uint256 i = 0; i < 4; ++i) {
            bytes memory code = abi.encodePacked(vm.getCode(names[i]), abi.encode(ward, ward));
            assertLe(code.length, CODE_LIMIT, names[i]);
        }
    }

    /// Why a deployment of WardRound with that court reverts.
    function rejected(address court) internal returns (bytes memory reason) {
        // Not a new one: it would take the nonce of which the court knows the address.
        return rejected("WardRound.sol:WardRound", abi.encode(court, ward.ANNEX()));
    }

    /// Why a deployment reverts.
    function rejected(string memory name, bytes memory arguments)
        internal
        returns (bytes memory reason)
    {
        bytes memory code = abi.encodePacked(vm.getCode(name), arguments);
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

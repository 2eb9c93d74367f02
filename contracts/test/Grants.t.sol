// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Grants} from "../src/Grants.sol";
import {IGrants, Reader} from "../src/interfaces/IGrants.sol";
import {Recording, StudyId} from "../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../src/interfaces/IWardRoundBase.sol";
import {Scene} from "./Scene.sol";

contract GrantsTest is Scene {
    Grants internal grants;
    StudyId internal study;
    StudyId internal other;

    /// What the contract should hold, kept the slow way.
    mapping(address => bytes32) private _keys;
    uint64 private _revocations;
    uint256 private _count;

    function setUp() public override {
        super.setUp();
        grants = new Grants(ward);
        study = create(sampleParams(Recording.Full));
        other = create(sampleParams(Recording.Root));
    }

    function testFuzz_grant_letsRead(address reader, bytes32 key) public {
        vm.assume(reader != address(0) && key != 0);
        assertTrue(!grants.isGranted(study, reader), "not before");

        vm.expectEmit(address(grants));
        emit IGrants.Granted(study, reader, key, 1);
        vm.prank(SPONSOR);
        grants.grant(study, reader, key);

        assertTrue(grants.isGranted(study, reader), "granted");
        assertTrue(!grants.isGranted(other, reader), "no other study");
        assertEq(grants.publicKeyOf(study, reader), key, "key");
        assertEq(grants.epoch(study), 1, "a grant begins no epoch");
        Reader[] memory list = grants.readers(study);
        assertEq(list.length, 1, "readers");
        assertEq(list[0].account, reader, "account");
        assertEq(list[0].publicKey, key, "public key");
    }

    function testFuzz_revoke_beginsAnEpoch(address reader, bytes32 key) public {
        vm.assume(reader != address(0) && key != 0);
        vm.startPrank(SPONSOR);
        grants.grant(study, reader, key);

        vm.expectEmit(address(grants));
        emit IGrants.Revoked(study, reader, 2);
        grants.revoke(study, reader);

        assertTrue(!grants.isGranted(study, reader), "revoked");
        assertEq(grants.publicKeyOf(study, reader), 0, "no key");
        assertEq(grants.epoch(study), 2, "epoch");
        assertEq(grants.epoch(other), 1, "of this study alone");
        assertEq(grants.readers(study).length, 0, "nobody");
        vm.stopPrank();
    }

    function testFuzz_anybodyElse_mayNot(address caller, address reader, bytes32 key) public {
        vm.assume(caller != SPONSOR && reader != address(0) && key != 0);
        vm.prank(SPONSOR);
        grants.grant(study, address(0xA), key);
        bytes memory refusal =
            abi.encodeWithSelector(IGrants.Grants_NotSponsor.selector, study, caller);
        vm.startPrank(caller);
        vm.expectRevert(refusal);
        grants.grant(study, reader, key);
        vm.expectRevert(refusal);
        grants.revoke(study, address(0xA));
        vm.stopPrank();
    }

    function testFuzz_studyThatIsNot_hasNoSponsor(bytes32 id, address caller) public {
        vm.assume(id != StudyId.unwrap(study) && id != StudyId.unwrap(other));
        vm.prank(caller);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_StudyUnknown.selector, StudyId.wrap(id))
        );
        grants.grant(StudyId.wrap(id), address(0xA), bytes32(uint256(1)));
    }

    function testFuzz_badArguments_areNamed(address reader, bytes32 key) public {
        vm.assume(reader != address(0) && key != 0 && ~key != 0);
        vm.startPrank(SPONSOR);
        vm.expectRevert(abi.encodeWithSelector(IGrants.Grants_NoReader.selector, study));
        grants.grant(study, address(0), key);
        vm.expectRevert(abi.encodeWithSelector(IGrants.Grants_NoKey.selector, study, reader));
        grants.grant(study, reader, 0);
        vm.expectRevert(abi.encodeWithSelector(IGrants.Grants_NotGranted.selector, study, reader));
        grants.revoke(study, reader);
        grants.grant(study, reader, key);
        vm.expectRevert(
            abi.encodeWithSelector(IGrants.Grants_AlreadyGranted.selector, study, reader)
        );
        grants.grant(study, reader, ~key);
        vm.stopPrank();
    }

    /// Grants and revocations in any order, against a mapping.
    function testFuzz_anyHistory_isKept(uint256[32] memory moves) public {
        vm.startPrank(SPONSOR);
        for (uint256 i = 0; i < moves.length; ++i) {
            address reader = address(uint160(1 + moves[i] % 5));
            if (_keys[reader] == 0) {
                _keys[reader] = bytes32(moves[i] | 1);
                ++_count;
                grants.grant(study, reader, _keys[reader]);
            } else {
                delete _keys[reader];
                --_count;
                ++_revocations;
                grants.revoke(study, reader);
            }
        }
        vm.stopPrank();

        assertEq(grants.epoch(study), _revocations + 1, "epoch");
        Reader[] memory list = grants.readers(study);
        assertEq(list.length, _count, "how many");
        for (uint256 i = 0; i < list.length; ++i) {
            assertEq(list[i].publicKey, _keys[list[i].account], "key in the list");
            for (uint256 j = 0; j < i; ++j) {
                assertTrue(list[i].account != list[j].account, "once");
            }
        }
        for (uint160 i = 1; i <= 5; ++i) {
            assertEq(grants.publicKeyOf(study, address(i)), _keys[address(i)], "key by account");
            assertTrue(grants.isGranted(study, address(i)) == (_keys[address(i)] != 0), "granted");
        }
    }
}

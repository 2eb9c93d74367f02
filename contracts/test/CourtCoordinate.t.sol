// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {CoordinateProof} from "../src/interfaces/ICourt.sol";
import {ICourtBase} from "../src/interfaces/ICourtBase.sol";
import {Recording, StudyParams} from "../src/interfaces/IWardRound.sol";
import {CourtScene} from "./CourtScene.sol";

contract CourtCoordinateTest is CourtScene {
    // Every narrowed number was bounded above, or is fuzz whose upper bits may go.
    // forge-lint: disable-start(unsafe-typecast)
    function testFuzz_challengeCoordinate_provesAnyWrongUnit(
        uint256 seed,
        uint256 coordinate,
        int32 shift
    ) public {
        Story memory story = cheated(seed, coordinate, shift);
        coordinate = bound(coordinate, 0, story.model.length - 1);
        challengeCoordinate(story, coordinate);
        assertOverturned(story);
    }

    /// Whatever a challenger says about an honest round, with whatever data, it stands.
    function testFuzz_challengeCoordinate_withAnyOtherData(
        uint256 seed,
        uint256 coordinate,
        uint256 what
    ) public {
        Story memory story = anyHonest(seed);
        coordinate = bound(coordinate, 0, story.model.length - 1);
        what = bound(what, 0, 5);
        if (what == 0) story.model[coordinate] ^= 1;
        if (what == 1) story.base[coordinate] ^= 1;
        if (what == 2) story.updates[seed % story.updates.length][coordinate] ^= 1;
        if (what == 3) story.list[seed % story.list.length].weight ^= 1;
        CoordinateProof memory proof = coordinateProof(story, coordinate);
        if (what == 4) proof.coordinate = uint32(bound(seed, 0, type(uint32).max));
        if (what == 5) proof.updates = bytes.concat(proof.updates, proof.updates);
        vm.prank(CHALLENGER);
        try court.challengeCoordinate(
            story.id, story.round, story.closing, story.previous, packed(story.list), proof
        ) {
            assertTrue(false, "an honest round was overturned");
        } catch {}
        assertStands(story);
    }

    function test_challengeCoordinate_ofASumOutOfRange() public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.parameterCount = 300;
        Story memory story = begin(params, 3, 2);
        // No model holds 2**31: whatever is recorded instead is wrong.
        story.base[299] = type(int32).max;
        params.initialModel = vectorRoot(bytesOf(story.base));
        params.code = bytes32(0);
        story.id = open(params, 3);
        story.previous = beginning(params);
        for (uint256 i = 0; i < 3; ++i) {
            story.updates[i][299] = 1;
            story.list[i].update = vectorRoot(bytesOf(story.updates[i]));
            sign(story, i);
        }
        story.closing.record = recordOf(story.list);
        story.model = story.base;
        story.closing.record.model = vectorRoot(bytesOf(story.base));
        close(story);
        challengeCoordinate(story, 299);
        assertOverturned(story);
    }

    function test_challengeCoordinate_namesWhatIsMissing() public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.parameterCount = 257;
        Story memory story = begin(params, 3, 1);
        close(story);
        CoordinateProof memory proof = coordinateProof(story, 256);

        proof.coordinate = 257;
        expect(
            story,
            proof,
            abi.encodeWithSelector(ICourtBase.Court_CoordinateUnknown.selector, 257, 257)
        );
        proof = coordinateProof(story, 256);
        proof.base = bytes.concat(proof.base, bytes32(0));
        expect(
            story, proof, abi.encodeWithSelector(ICourtBase.Court_OpeningMalformed.selector, 68, 36)
        );
        proof = coordinateProof(story, 256);
        proof.updates = proof.model;
        expect(
            story,
            proof,
            abi.encodeWithSelector(ICourtBase.Court_OpeningMalformed.selector, 36, 108)
        );
        proof = coordinateProof(story, 256);
        proof.model[0] ^= 0x01;
        bytes32 root = story.closing.record.model;
        expect(story, proof, abi.encodeWithSelector(ICourtBase.Court_NotIncluded.selector, root, 1));

        proof = coordinateProof(story, 256);
        bytes memory entries = packed(story.list);
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_EntriesMalformed.selector, 472));
        court.challengeCoordinate(
            story.id, 1, story.closing, story.previous, bytes.concat(entries, hex"00"), proof
        );
        story.previous.closedAt = 1;
        vm.expectRevert(
            abi.encodeWithSelector(
                ICourtBase.Court_PreviousDiffers.selector,
                story.id,
                0,
                ward.commitment(story.id, 0),
                keccak256(abi.encode(story.previous))
            )
        );
        court.challengeCoordinate(story.id, 1, story.closing, story.previous, entries, proof);
        story.closing.closedAt = 1;
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NotChallengeable.selector, story.id, 1)
        );
        court.challengeCoordinate(story.id, 1, story.closing, story.previous, entries, proof);
    }

    function testFuzz_challengeCoordinate_onlyWithinTheWindow(uint256 seed, uint256 late) public {
        Story memory story = cheated(seed, 0, 1);
        late = bound(late, 0, 365 days);
        vm.warp(story.closing.closedAt + story.params.challengeSeconds + late);
        CoordinateProof memory proof = coordinateProof(story, 0);
        vm.expectRevert(
            abi.encodeWithSelector(
                ICourtBase.Court_NotChallengeable.selector, story.id, story.round
            )
        );
        court.challengeCoordinate(
            story.id, story.round, story.closing, story.previous, packed(story.list), proof
        );
        // One second earlier it would have been in time.
        vm.warp(story.closing.closedAt + story.params.challengeSeconds - 1);
        challengeCoordinate(story, 0);
        assertOverturned(story);
    }

    // ------------------------------------------------------------------ inside

    /// A round one coordinate of whose model is off.
    function cheated(uint256 seed, uint256 coordinate, int32 shift)
        internal
        returns (Story memory story)
    {
        uint256 sites = 1 + pick(seed, "sites", 6);
        story = begin(anyParams(seed, sites), sites, seed);
        coordinate = bound(coordinate, 0, story.model.length - 1);
        story.model[coordinate] ^= shift == 0 ? int32(1) : shift;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        close(story);
    }

    function expect(Story memory story, CoordinateProof memory proof, bytes memory reason)
        internal
    {
        bytes memory entries = packed(story.list);
        vm.expectRevert(reason);
        court.challengeCoordinate(story.id, 1, story.closing, story.previous, entries, proof);
    }

    // forge-lint: disable-end(unsafe-typecast)
}

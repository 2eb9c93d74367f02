// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "../src/interfaces/IChallenges.sol";
import {CoordinateProof, UpdateProof} from "../src/interfaces/ICourt.sol";
import {ICourtBase} from "../src/interfaces/ICourtBase.sol";
import {IRegistrations} from "../src/interfaces/IRegistrations.sol";
import {Closing, Recording, Rule, StudyId, StudyParams} from "../src/interfaces/IWardRound.sol";
import {CallScene} from "./CallScene.sol";

/// What holds for every challenge: nothing overturns an honest round, and nothing but the proof
/// itself, to the last bit, overturns a dishonest one.
contract CourtHonestTest is CallScene {
    // Every narrowed number was bounded above, or is fuzz whose upper bits may go.
    // forge-lint: disable-start(unsafe-typecast)

    uint256 internal constant CALLS = 6;

    // ------------------------------------------------------------------ the honest

    /// All data of an honest round, at any place, in every challenge: each says that it is right.
    function testFuzz_honest_standsAgainstEveryChallenge(
        uint256 seed,
        uint256 coordinate,
        uint256 index,
        bool removed
    ) public {
        Story memory story = anyHonest(seed);
        uint256 sites = story.list.length;
        coordinate = bound(coordinate, 0, story.model.length - 1);
        index = bound(index, 0, sites - 1);
        // What the sponsor does afterwards changes nothing.
        if (removed) {
            vm.prank(SPONSOR);
            ward.removeSite(story.id, story.list[index].site);
        }
        rejects(
            coordinateCall(story, coordinate),
            abi.encodeWithSelector(
                ICourtBase.Court_CoordinateRight.selector, coordinate, story.model[coordinate]
            )
        );
        rejects(
            entryCall(story, index),
            abi.encodeWithSelector(ICourtBase.Court_EntryRight.selector, index)
        );
        rejects(
            totalsCall(story),
            abi.encodeWithSelector(
                ICourtBase.Court_TotalsRight.selector, sites, story.closing.record.totalWeight
            )
        );
        if (index + 1 < sites) {
            rejects(
                orderCall(story, index, index, index + 1),
                abi.encodeWithSelector(ICourtBase.Court_OrderRight.selector, index)
            );
            // Neighbours only, and each at its own place.
            rejects(
                orderCall(story, index, index + 1, index),
                abi.encodeWithSelector(ICourtBase.Court_EntryNotIncluded.selector, index)
            );
        }
        assertStands(story);
    }

    // ------------------------------------------------------------------ the dishonest

    /// A valid proof with any one bit flipped proves nothing.
    function testFuzz_proofs_withAnyFlippedBitAreRejected(
        uint256 seed,
        uint256 which,
        uint256 place
    ) public {
        which = bound(which, 0, CALLS - 1);
        (Story memory story, bytes memory call) = provable(seed, which);
        place = bound(place, 0, call.length * 8 - 1);
        bytes memory changed = bytes.concat(call);
        changed[place / 8] ^= bytes1(uint8(bitAt(place % 8)));
        (bool done,) = address(court).call(changed);
        if (done) {
            // Padding says nothing, so it may be anything; nor do rows where the rule takes none.
            try this.recoded(changed) returns (bytes memory again) {
                assertEq(keccak256(again), keccak256(call), "a flipped bit passed");
            } catch {
                assertTrue(which == 0 && story.params.rule < Rule.ClippedMean, "it was read");
            }
        } else {
            assertStands(story);
            vm.prank(CHALLENGER);
            (done,) = address(court).call(call);
            assertTrue(done, "the proof itself is valid");
            assertOverturned(story);
        }
    }

    /// A dishonest round with a call that proves it.
    function provable(uint256 seed, uint256 which)
        internal
        returns (Story memory story, bytes memory call)
    {
        uint256 sites = 3 + pick(seed, "sites", 4);
        StudyParams memory params = anyParams(seed, 2);
        if (which > 0) params.recording = Recording.Root;
        story = begin(params, sites, seed);
        uint256 index = pick(seed, "index", sites - 2);
        if (which == 0) {
            story.model[0] ^= 1;
            story.closing.record.model = vectorRoot(bytesOf(story.model));
        } else if (which == 1) {
            story.list[index].weight = 0;
            sign(story, index);
            recommit(story);
        } else if (which == 2) {
            story.list[index + 1] = story.list[index];
            recommit(story);
        } else if (which == 3) {
            ++story.closing.record.count;
        } else if (which == 5) {
            // One coordinate alone is beyond the bound.
            story.updates[index] = new int32[](params.parameterCount);
            setUpdate(story, index, 0, type(int32).min);
        } else {
            Draft memory left = story.list[index + 1];
            ward.contribute(story.id, 1, story.previous, packed(left));
            story = without(story, index + 1);
            vm.warp(block.timestamp + params.graceSeconds + 1);
            close(story);
            return (story, omissionCall(story, left.site, index + 1));
        }
        close(story);
        if (which == 0) call = coordinateCall(story, 0);
        if (which == 1) call = entryCall(story, index);
        if (which == 2) call = orderCall(story, index, index, index + 1);
        if (which == 3) call = totalsCall(story);
        if (which == 5) call = updateCall(story, index, 0);
    }

    // ------------------------------------------------------------------ calls

    function rejects(bytes memory call, bytes memory reason) internal {
        (bool done, bytes memory given) = address(court).call(call);
        assertTrue(!done, "an honest round was overturned");
        assertEq(keccak256(given), keccak256(reason), "reason");
    }

    // ------------------------------------------------------------------ reading

    /// What a call says, said again.
    function recoded(bytes calldata call) external pure returns (bytes memory) {
        bytes4 selector = bytes4(call);
        bytes calldata data = call[4:];
        if (selector == IChallenges.challengeCoordinate.selector) {
            (
                StudyId id,
                uint32 round,
                Closing memory closing,
                Closing memory previous,
                bytes memory entries,
                CoordinateProof memory proof
            ) = abi.decode(data, (StudyId, uint32, Closing, Closing, bytes, CoordinateProof));
            // Which these rules take none of, and read none.
            proof.rows = "";
            return abi.encodeCall(
                IChallenges.challengeCoordinate, (id, round, closing, previous, entries, proof)
            );
        }
        if (selector == IChallenges.challengeEntry.selector) return recodedEntry(data);
        if (selector == IRegistrations.challengeUpdate.selector) return recodedUpdate(data);
        if (selector == IChallenges.challengeOrder.selector) return recodedOrder(data);
        if (selector == IChallenges.challengeTotals.selector) {
            (StudyId id, uint32 round, Closing memory closing, bytes memory entries) =
                abi.decode(data, (StudyId, uint32, Closing, bytes));
            return abi.encodeCall(IChallenges.challengeTotals, (id, round, closing, entries));
        }
        return recodedOmission(data);
    }

    function recodedEntry(bytes calldata data) private pure returns (bytes memory) {
        (
            StudyId id,
            uint32 round,
            Closing memory closing,
            Closing memory previous,
            bytes memory entry,
            uint32 index,
            bytes32[] memory path
        ) = abi.decode(data, (StudyId, uint32, Closing, Closing, bytes, uint32, bytes32[]));
        return abi.encodeCall(
            IChallenges.challengeEntry, (id, round, closing, previous, entry, index, path)
        );
    }

    function recodedUpdate(bytes calldata data) private pure returns (bytes memory) {
        (
            StudyId id,
            uint32 round,
            Closing memory closing,
            Closing memory previous,
            bytes memory entry,
            uint32 index,
            bytes32[] memory path,
            UpdateProof memory proof
        ) = abi.decode(
            data, (StudyId, uint32, Closing, Closing, bytes, uint32, bytes32[], UpdateProof)
        );
        return abi.encodeCall(
            IRegistrations.challengeUpdate,
            (id, round, closing, previous, entry, index, path, proof)
        );
    }

    function recodedOrder(bytes calldata data) private pure returns (bytes memory) {
        (
            StudyId id,
            uint32 round,
            Closing memory closing,
            bytes memory first,
            bytes memory second,
            uint32 index,
            bytes32[] memory path,
            bytes32[] memory other
        ) = abi.decode(data, (StudyId, uint32, Closing, bytes, bytes, uint32, bytes32[], bytes32[]));
        return abi.encodeCall(
            IChallenges.challengeOrder, (id, round, closing, first, second, index, path, other)
        );
    }

    function recodedOmission(bytes calldata data) private pure returns (bytes memory) {
        (
            StudyId id,
            uint32 round,
            Closing memory closing,
            address site,
            uint32 index,
            bytes memory first,
            bytes memory second,
            bytes32[] memory path,
            bytes32[] memory other
        ) = abi.decode(
            data, (StudyId, uint32, Closing, address, uint32, bytes, bytes, bytes32[], bytes32[])
        );
        return abi.encodeCall(
            IRegistrations.challengeOmission,
            (id, round, closing, site, index, first, second, path, other)
        );
    }
    // forge-lint: disable-end(unsafe-typecast)
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "../src/interfaces/IChallenges.sol";
import {UpdateProof} from "../src/interfaces/ICourt.sol";
import {IRegistrations} from "../src/interfaces/IRegistrations.sol";
import {CourtScene} from "./CourtScene.sol";

/// Challenges as calls, to be made, changed or committed to.
abstract contract CallScene is CourtScene {
    // Every narrowed number was bounded above.
    // forge-lint: disable-start(unsafe-typecast)
    function coordinateCall(Story memory story, uint256 coordinate)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodeCall(
            IChallenges.challengeCoordinate,
            (
                story.id,
                story.round,
                story.closing,
                story.previous,
                packed(story.list),
                coordinateProof(story, coordinate)
            )
        );
    }

    function entryCall(Story memory story, uint256 index) internal pure returns (bytes memory) {
        return abi.encodeCall(
            IChallenges.challengeEntry,
            (
                story.id,
                story.round,
                story.closing,
                story.previous,
                packed(story.list[index]),
                uint32(index),
                entryPath(story, index)
            )
        );
    }

    function orderCall(Story memory story, uint256 index, uint256 first, uint256 second)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodeCall(
            IChallenges.challengeOrder,
            (
                story.id,
                story.round,
                story.closing,
                packed(story.list[first]),
                packed(story.list[second]),
                uint32(index),
                entryPath(story, first),
                entryPath(story, second)
            )
        );
    }

    function totalsCall(Story memory story) internal pure returns (bytes memory) {
        return abi.encodeCall(
            IChallenges.challengeTotals, (story.id, story.round, story.closing, packed(story.list))
        );
    }

    /// That a site, which would be at this place, is not in the record.
    function omissionCall(Story memory story, address site, uint256 index)
        internal
        pure
        returns (bytes memory)
    {
        bytes32[] memory none = new bytes32[](0);
        bool first = index == 0;
        bool last = index == story.list.length;
        return abi.encodeCall(
            IRegistrations.challengeOmission,
            (
                story.id,
                story.round,
                story.closing,
                site,
                uint32(index),
                first ? bytes("") : packed(story.list[index - 1]),
                last ? bytes("") : packed(story.list[index]),
                first ? none : entryPath(story, index - 1),
                last ? none : entryPath(story, index)
            )
        );
    }

    /// That a coordinate of an entry's update is out of range.
    function updateCall(Story memory story, uint256 index, uint256 coordinate)
        internal
        pure
        returns (bytes memory)
    {
        uint256 chunk = coordinate / 256;
        UpdateProof memory proof = UpdateProof(
            uint32(coordinate),
            opening(bytesOf(story.updates[index]), chunk),
            opening(bytesOf(story.base), chunk)
        );
        return abi.encodeCall(
            IRegistrations.challengeUpdate,
            (
                story.id,
                story.round,
                story.closing,
                story.previous,
                packed(story.list[index]),
                uint32(index),
                entryPath(story, index),
                proof
            )
        );
    }

    /// Replaces a coordinate of a site's update, which the site signs.
    function setUpdate(Story memory story, uint256 index, uint256 coordinate, int32 value)
        internal
        view
    {
        story.updates[index][coordinate] = value;
        story.list[index].update = vectorRoot(bytesOf(story.updates[index]));
        sign(story, index);
        recommit(story);
    }
    // forge-lint: disable-end(unsafe-typecast)
}

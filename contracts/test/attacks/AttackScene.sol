// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Target} from "../../src/interfaces/ICourt.sol";
import {Closing, Earning, Recording, StudyParams} from "../../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../../src/interfaces/IWardRoundBase.sol";
import {CourtScene} from "../CourtScene.sol";

/// Steps of an attack, which the contract may reject, and assertions about their outcome.
///
/// Each test of this folder states what must hold under one attack. The contract does not defend
/// all of it yet: tests/attacks/test_contract_attacks.py lists the tests that fail. A test asserts
/// on the outcome (who is paid, which round is open, who keeps a bond), so any remedy passes, also
/// one that rejects an earlier step of the attack.
abstract contract AttackScene is CourtScene {
    uint256 internal constant COORDINATOR_FUNDS = 2 ** 100;

    /// A small study with full recording that no auditor shortens.
    function smallStudy() internal view returns (StudyParams memory params) {
        params = sampleParams(Recording.Full);
        params.auditorQuorum = 0;
        params.minSites = 2;
        params.parameterCount = 8;
    }

    /// Whether `createStudy` rejects a parameter.
    function isRejected(StudyParams memory params) internal returns (bool) {
        // Another study of the same parameters: the test may still create its own.
        bytes32 code = params.code;
        params.code = keccak256("probe");
        address[] memory auditors = addresses(auditorKeys(3));
        bytes32 rejection;
        vm.prank(params.sponsor);
        try ward.createStudy(params, coordinators(), auditors) {}
        catch (bytes memory reason) {
            rejection = selectorOf(reason);
        }
        params.code = code;
        return rejection == bytes32(IWardRoundBase.WardRound_ParameterInvalid.selector);
    }

    // ------------------------------------------------------------------ attempts

    /// The first coordinator closes the round.
    /// @return Whether the contract accepted it.
    function tryClose(Story memory story) internal returns (bool) {
        bytes memory entries = packed(story.list);
        story.closing.coordinator = FIRST;
        story.closing.closedAt = uint64(block.timestamp);
        vm.prank(FIRST);
        if (story.params.recording == Recording.Root) {
            try ward.closeRoundRoot(story.id, story.round, story.closing.record) {
                return true;
            } catch {
                return false;
            }
        }
        try ward.closeRound(story.id, story.round, story.closing.record, story.previous, entries) {
            return true;
        } catch {
            return false;
        }
    }

    /// A site asks for its share of the round.
    function tryClaim(Story memory story, uint256 index) internal {
        Earning[] memory earnings = only(earningOf(story.round, story.closing, story.list, index));
        try ward.claim(story.id, story.list[index].site, earnings) {} catch {}
    }

    function tryTotalsChallenge(Story memory story) internal {
        bytes memory entries = packed(story.list);
        vm.prank(CHALLENGER);
        try court.challengeTotals(story.id, story.round, story.closing, entries) {} catch {}
    }

    /// The challenger shows that the record has no entry of a site.
    /// @param index The number of entries before it.
    function tryOmissionChallenge(Story memory story, address site, uint32 index) internal {
        bytes memory before;
        bytes memory behind;
        bytes32[] memory beforePath = new bytes32[](0);
        bytes32[] memory behindPath = new bytes32[](0);
        if (index > 0) {
            before = packed(story.list[index - 1]);
            beforePath = entryPath(story, index - 1);
        }
        if (index < story.list.length) {
            behind = packed(story.list[index]);
            behindPath = entryPath(story, index);
        }
        vm.prank(CHALLENGER);
        try court.challengeOmission(
            story.id,
            story.round,
            story.closing,
            site,
            index,
            before,
            behind,
            beforePath,
            behindPath
        ) {}
            catch {}
    }

    /// Demands a chunk, waits until the demand window is over, and closes the demand.
    function tryUnansweredDemand(Story memory story, Target memory target, address demander)
        internal
    {
        vm.prank(demander);
        try court.demandChunk(
            story.id, story.round, story.closing, story.previous, target
        ) returns (
            bytes32 demand
        ) {
            vm.warp(block.timestamp + story.params.demandSeconds + 1);
            court.closeDemand(demand, story.closing);
        } catch {}
    }

    /// Registers a contribution.
    /// @return Whether the contract accepted it.
    function tryRegister(Story memory story, Draft memory draft) internal returns (bool) {
        try ward.contribute(story.id, story.round, story.previous, packed(draft)) {
            return true;
        } catch {
            return false;
        }
    }

    function tryTakeOver(Story memory story, address coordinator) internal {
        vm.prank(coordinator);
        try ward.takeOver(story.id) {} catch {}
    }

    function tryEndStudy(Story memory story, address caller) internal {
        vm.prank(caller);
        try ward.endStudy(story.id) {} catch {}
    }

    // ------------------------------------------------------------------ outcomes

    function assertOpenAgain(Story memory story, string memory claim) internal view {
        assertEq(ward.study(story.id).head, story.round, claim);
    }

    function assertKeepsBond(Story memory story, address coordinator, string memory claim)
        internal
        view
    {
        assertEq(ward.seat(story.id, coordinator).bond, story.params.bond, claim);
    }
}

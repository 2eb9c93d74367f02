// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Earning, Named, StudyParams} from "../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../src/interfaces/IWardRoundBase.sol";
import {ScoreScene} from "./ScoreScene.sol";

/// What a site is paid by its score.
/// forge-config: deep.fuzz.runs = 500
contract ScoreClaimsTest is ScoreScene {
    // Every narrowed number was bounded above, or is fuzz whose upper bits may go.
    // forge-lint: disable-start(unsafe-typecast)

    function testFuzz_claim_paysScores(uint256 seed) public {
        (Story memory story, Ledger memory ledger) = projected(seed);
        finish(story);
        uint256 sites = story.list.length;
        uint256 total = wordAt(ledger.rows[3][sites - 1], 3);
        uint256 reward = story.params.rewardPerRound;
        uint256 sum;
        for (uint256 k = 0; k < sites; ++k) {
            uint256 share = total == 0
                ? shareOf(reward, story.closing.record, story.list[k].weight)
                : reward * wordAt(ledger.rows[3][k], 2) / total;
            address site = story.list[k].site;
            uint256 before = token.balanceOf(payoutOf(site));
            ward.claim(story.id, site, only(scoredEarning(story, ledger, k)));
            assertEq(token.balanceOf(payoutOf(site)) - before, share, "share");
            sum += share;
        }
        assertLe(sum, reward, "reward");
        assertEq(ward.owed(story.id, SPONSOR), reward - sum, "the rest");
    }

    function test_claim_byWeightWhereNoUpdateIsWorthAnything() public {
        StudyParams memory params = scoredParams(0, 3);
        params.parameterCount = 4;
        (Story memory story, Ledger memory ledger) = beginScored(params, 3, 1);
        for (uint256 k = 0; k < 3; ++k) {
            story.updates[k] = new int32[](4);
            story.list[k].update = vectorRoot(bytesOf(story.updates[k]));
            sign(story, k);
        }
        ledger = settleScored(story);
        finish(story);
        assertEq(wordAt(ledger.rows[3][2], 3), 0, "no score");
        Draft memory draft = story.list[1];
        ward.claim(story.id, draft.site, only(scoredEarning(story, ledger, 1)));
        uint256 share = shareOf(params.rewardPerRound, story.closing.record, draft.weight);
        assertEq(token.balanceOf(payoutOf(draft.site)), share, "share");
    }

    function testFuzz_claim_onlyByWhatTheRecordHolds(uint256 seed, uint256 what) public {
        (Story memory story, Ledger memory ledger) = projected(seed);
        finish(story);
        uint256 k = pick(seed, "site", story.list.length);
        Earning memory earning = scoredEarning(story, ledger, k);
        what = bound(what, 0, 2);
        if (what == 0) earning.entry[157 + seed % (earning.entry.length - 157)] ^= 0x01;
        if (what == 1) earning.entry = packed(story.list[k]);
        if (what == 2) {
            uint256 other = (k + 1) % story.list.length;
            vm.assume(keccak256(ledger.rows[3][k]) != keccak256(ledger.rows[3][other]));
            earning.entry = scoredEarning(story, ledger, other).entry;
            bytes memory own = packed(story.list[k]);
            for (uint256 i = 0; i < own.length; ++i) {
                earning.entry[i] = own[i];
            }
        }
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_ScoreNotIncluded.selector, 1, k)
        );
        ward.claim(story.id, story.list[k].site, only(earning));
    }

    /// Of a round whose scores were wrong and that no account challenged, no claim takes more than the
    /// reward, and none fails.
    function testFuzz_claim_ofAnyScores(uint256 seed, uint256 score, uint256 total) public {
        (Story memory story, Ledger memory ledger) = projected(seed);
        uint256 sites = story.list.length;
        for (uint256 k = 0; k < sites; ++k) {
            setWord(ledger.rows[3][k], 2, score);
            setWord(ledger.rows[3][k], 3, total);
        }
        commitTo(story.closing.record, ledger);
        finish(story);
        uint256 paid;
        for (uint256 k = 0; k < sites; ++k) {
            address site = story.list[k].site;
            ward.claim(story.id, site, only(scoredEarning(story, ledger, k)));
            paid += token.balanceOf(payoutOf(site));
        }
        assertLe(paid, story.params.rewardPerRound, "reward");
    }

    // ------------------------------------------------------------------ inside

    function projected(uint256 seed) internal returns (Story memory, Ledger memory) {
        uint256 sites = 2 + pick(seed, "sites", 4);
        StudyParams memory params = scoredParams(2 * pick(seed, "kind", 2), sites);
        params.parameterCount = uint32(1 + pick(seed, "small", 6));
        return beginScored(params, sites, seed);
    }

    /// Closes the round and lets its challenge window pass.
    function finish(Story memory story) internal {
        close(story);
        vm.warp(block.timestamp + story.params.challengeSeconds);
    }

    function scoredEarning(Story memory story, Ledger memory ledger, uint256 index)
        internal
        view
        returns (Earning memory earning)
    {
        earning = earningOf(1, story.closing, story.list, index);
        earning.entry = bytes.concat(
            earning.entry,
            namedOpening(ledger, Named.Scores),
            rowOpening(ledger, Named.Scores, index),
            rowOpening(ledger, Named.Scores, story.list.length - 1)
        );
    }
    // forge-lint: disable-end(unsafe-typecast)
}

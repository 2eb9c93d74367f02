// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    Closing,
    Earning,
    Record,
    Recording,
    StudyId,
    StudyParams
} from "../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../src/interfaces/IWardRoundBase.sol";
import {Scene} from "./Scene.sol";

contract MoneyTest is Scene {
    address internal constant BURNT = 0x000000000000000000000000000000000000dEaD;

    // Every narrowed number was bounded above.
    // forge-lint: disable-start(unsafe-typecast)
    // ------------------------------------------------------------------ claim

    /// Two rounds in one transaction, to the site's payout address, and neither again.
    function testFuzz_claim_paysEachShareOnce(
        uint256 sites,
        uint256 seed,
        uint256 who,
        address caller
    ) public {
        sites = bound(sites, 1, 12);
        who = bound(who, 0, sites - 1);
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, sites);
        Earning[] memory earnings = new Earning[](2);
        uint256[] memory shares = new uint256[](2);
        address site;
        for (uint32 round = 1; round <= 2; ++round) {
            (Closing memory closing, Draft[] memory list) = closed(id, round, sites, seed ^ round);
            site = list[who].site;
            earnings[round - 1] = earningOf(round, closing, list, who);
            shares[round - 1] = shareOf(params.rewardPerRound, closing.record, list[who].weight);
        }
        rejects(id, site, earnings, IWardRoundBase.WardRound_NotFinal.selector);

        vm.warp(block.timestamp + params.challengeSeconds);
        for (uint32 round = 1; round <= 2; ++round) {
            vm.expectEmit(address(ward));
            emit IWardRoundBase.Claimed(id, site, round, payoutOf(site), shares[round - 1]);
        }
        vm.prank(caller);
        ward.claim(id, site, earnings);
        uint256 sum = shares[0] + shares[1];
        assertEq(token.balanceOf(payoutOf(site)), sum, "at its payout");
        assertEq(ward.study(id).paid, sum, "paid");
        for (uint32 round = 1; round <= 2; ++round) {
            assertTrue(ward.isPaid(id, round, site), "is paid");
            (uint128 amount, uint32 count) = ward.paidOf(id, round);
            assertEq(amount, shares[round - 1], "of the round");
            assertEq(count, 1, "to one site");
            vm.expectRevert(
                abi.encodeWithSelector(
                    IWardRoundBase.WardRound_AlreadyPaid.selector, id, round, site
                )
            );
            ward.claim(id, site, only(earnings[round - 1]));
        }
        assertTrue(!ward.isPaid(id, 3, site), "nothing of another round");
    }

    function test_claim_ofOneRoundTwiceInOneTransaction() public {
        (StudyId id, Closing memory closing, Draft[] memory list) = earned(3, 1000 ether);
        Earning[] memory earnings = new Earning[](2);
        earnings[0] = earningOf(1, closing, list, 0);
        earnings[1] = earnings[0];
        rejects(id, list[0].site, earnings, IWardRoundBase.WardRound_AlreadyPaid.selector);
    }

    /// Nothing but a site's own entry at its place, to the last bit, is paid.
    function testFuzz_claim_rejectsAnythingElse(uint256 what, uint256 bit, uint256 seed) public {
        uint256 sites = bound(seed, 2, 9);
        (StudyId id, Closing memory closing, Draft[] memory list) = earned(sites, 1000 ether);
        uint256 who = bound(bit, 0, sites - 1);
        address site = list[who].site;
        Earning memory earning = earningOf(1, closing, list, who);
        bytes4 reason = IWardRoundBase.WardRound_EntryNotIncluded.selector;
        what = bound(what, 0, 6);
        if (what == 0) {
            bit = bound(bit, 0, 157 * 8 - 1);
            earning.entry[bit / 8] ^= bytes1(uint8(bitAt(bit % 8)));
        } else if (what == 1) {
            earning.path[bit % earning.path.length] ^= bytes32(bitAt(bit % 256));
        } else if (what == 2) {
            earning.index = uint32(bound(seed >> 8, 0, type(uint32).max));
            if (earning.index == who) ++earning.index;
        } else if (what == 3) {
            site = list[(who + 1) % sites].site;
        } else if (what == 4) {
            bytes32[] memory longer = new bytes32[](earning.path.length + 1);
            for (uint256 i = 0; i < earning.path.length; ++i) {
                longer[i] = earning.path[i];
            }
            earning.path = longer;
        } else if (what == 5) {
            earning.entry = bytes.concat(earning.entry, hex"00");
            reason = IWardRoundBase.WardRound_EntriesMalformed.selector;
        } else {
            ++earning.closing.record.totalWeight;
            reason = IWardRoundBase.WardRound_CommitmentDiffers.selector;
        }
        rejects(id, site, only(earning), reason);
    }

    /// Before round 1 no site has earned anything.
    function test_claim_ofTheRoundBeforeTheFirst() public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 1);
        Draft[] memory list = drafts(id, 1, params.initialModel, 1, 1);
        Earning[] memory earnings = only(earningOf(0, beginning(params), list, 0));
        rejects(id, list[0].site, earnings, IWardRoundBase.WardRound_EntryNotIncluded.selector);
    }

    /// Of a total that is too low, and that no account has challenged, sites get the round's reward
    /// and no other money.
    function testFuzz_claim_neverMoreThanTheReward(uint256 sites, uint256 total, uint256 seed)
        public
    {
        sites = bound(sites, 1, 8);
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, sites);
        Draft[] memory list = drafts(id, 1, params.initialModel, sites, seed);
        Record memory record = recordOf(list);
        record.totalWeight = uint64(bound(total, sites, record.totalWeight));
        Closing memory closing = closeRoot(id, 1, record, FIRST);
        vm.warp(block.timestamp + params.challengeSeconds);
        uint256 left = params.rewardPerRound;
        for (uint256 i = 0; i < sites; ++i) {
            uint256 share = shareOf(params.rewardPerRound, record, list[i].weight);
            if (share > left) share = left;
            ward.claim(id, list[i].site, only(earningOf(1, closing, list, i)));
            assertEq(token.balanceOf(payoutOf(list[i].site)), share, "what is left");
            left -= share;
        }
        assertEq(ward.owed(id, SPONSOR), left, "the rest is the sponsor's");
    }

    /// In any order of claims, the last leaves the sponsor what flooring did not give to sites.
    function testFuzz_claim_ofTheLastEntrySettlesTheRound(
        uint256 sites,
        uint128 reward,
        uint256 from
    ) public {
        sites = bound(sites, 1, 9);
        reward = uint128(bound(reward, 1, 2 ** 100));
        from = bound(from, 0, sites - 1);
        (StudyId id, Closing memory closing, Draft[] memory list) = earned(sites, reward);
        for (uint256 i = 0; i < sites; ++i) {
            assertEq(ward.owed(id, SPONSOR), 0, "not before the last");
            uint256 who = (from + i) % sites;
            ward.claim(id, list[who].site, only(earningOf(1, closing, list, who)));
        }
        (uint128 amount, uint32 count) = ward.paidOf(id, 1);
        assertEq(count, sites, "all");
        assertEq(ward.study(id).paid, amount, "paid");
        assertEq(ward.owed(id, SPONSOR), reward - amount, "the rest");
        assertTrue(reward - amount < sites, "less than a unit a site");
    }

    /// A reward smaller than the number of sites, of which every share is zero.
    function test_claim_settlesSharesOfZero() public {
        (StudyId id, Closing memory closing, Draft[] memory list) = earned(5, 1);
        for (uint256 i = 0; i < 5; ++i) {
            ward.claim(id, list[i].site, only(earningOf(1, closing, list, i)));
            assertTrue(ward.isPaid(id, 1, list[i].site), "settled");
        }
        assertEq(ward.study(id).paid, 0, "paid");
        uint256 before = token.balanceOf(SPONSOR);
        ward.collect(id, SPONSOR);
        assertEq(token.balanceOf(SPONSOR) - before, 1, "the whole reward");
    }

    function test_claim_whenNothingIsDue() public {
        (StudyId id,, Draft[] memory list) = earned(2, 1000 ether);
        rejects(id, list[0].site, new Earning[](0), IWardRoundBase.WardRound_NothingDue.selector);
        Closing memory closing;
        (id, closing, list) = earned(2, 0);
        Earning[] memory earnings = only(earningOf(1, closing, list, 0));
        rejects(id, list[0].site, earnings, IWardRoundBase.WardRound_NothingDue.selector);
    }

    function testFuzz_claim_onlyForSites(address stranger) public {
        (StudyId id, Closing memory closing, Draft[] memory list) = earned(1, 1000 ether);
        vm.assume(ward.site(id, stranger).payout == address(0));
        Earning[] memory earnings = only(earningOf(1, closing, list, 0));
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_SiteUnknown.selector, id, stranger)
        );
        ward.claim(id, stranger, earnings);
    }

    /// A site that was removed afterwards is paid as before.
    function test_claim_ofARemovedSite() public {
        (StudyId id, Closing memory closing, Draft[] memory list) = earned(1, 1000 ether);
        vm.prank(SPONSOR);
        ward.removeSite(id, list[0].site);
        ward.claim(id, list[0].site, only(earningOf(1, closing, list, 0)));
        assertEq(token.balanceOf(payoutOf(list[0].site)), 1000 ether, "paid");
    }

    function rejects(StudyId id, address site, Earning[] memory earnings, bytes4 reason) internal {
        try ward.claim(id, site, earnings) {
            assertTrue(false, "a claim was paid");
        } catch (bytes memory given) {
            assertEq(selectorOf(given), bytes32(reason), "reason");
        }
    }

    // ------------------------------------------------------------------ endings

    /// Of the rounds that closed, the rewards stay, whatever was claimed before; all else goes back.
    function testFuzz_refund_whatNoRoundHasEarned(
        uint128 extra,
        uint256 rounds,
        uint256 claimed,
        uint256 seed
    ) public {
        StudyParams memory params = sampleParams(Recording.Root);
        extra = uint128(bound(extra, 0, 2 ** 100));
        rounds = bound(rounds, 0, params.rounds);
        StudyId id = open(params, 3);
        ward.fund(id, extra);
        Closing memory last = beginning(params);
        Earning[][] memory earnings = new Earning[][](3);
        for (uint256 i = 0; i < 3; ++i) {
            earnings[i] = new Earning[](rounds);
        }
        for (uint32 round = 1; round <= rounds; ++round) {
            Draft[] memory list;
            (last, list) = closed(id, round, 3, seed);
            for (uint256 i = 0; i < 3; ++i) {
                earnings[i][round - 1] = earningOf(round, last, list, i);
            }
        }
        if (rounds < params.rounds) {
            vm.warp(block.timestamp + 30 days);
            vm.prank(SPONSOR);
            ward.endStudy(id);
        } else {
            vm.expectRevert(
                abi.encodeWithSelector(IWardRoundBase.WardRound_NotFinal.selector, id, rounds)
            );
            ward.refund(id, last);
            vm.warp(block.timestamp + params.challengeSeconds);
        }
        address[] memory sites = addresses(siteKeys(3));
        for (uint256 i = 0; i < 3; ++i) {
            // Some claim before the refund, the others afterwards.
            if (rounds > 0 && claimed >> i & 1 == 1) ward.claim(id, sites[i], earnings[i]);
        }
        checkRefund(id, last, (params.rounds - rounds) * params.rewardPerRound + extra);
        for (uint256 i = 0; i < 3; ++i) {
            if (rounds > 0 && claimed >> i & 1 == 0) ward.claim(id, sites[i], earnings[i]);
        }
        uint256 left = rounds * params.rewardPerRound - ward.study(id).paid;
        assertEq(ward.owed(id, SPONSOR), left, "what flooring left");
        if (left > 0) ward.collect(id, SPONSOR);
        assertEq(held(id), 3 * uint256(params.bond), "only bonds are left");
    }

    function checkRefund(StudyId id, Closing memory last, uint256 due) internal {
        uint256 before = token.balanceOf(SPONSOR);
        if (due > 0) {
            vm.expectEmit(address(ward));
            emit IWardRoundBase.Refunded(id, SPONSOR, due);
            ward.refund(id, last);
            assertEq(token.balanceOf(SPONSOR) - before, due, "refunded");
        }
        assertEq(ward.study(id).refunded, due, "state");
        vm.expectRevert(abi.encodeWithSelector(IWardRoundBase.WardRound_NothingDue.selector, id));
        ward.refund(id, last);
    }

    /// What is paid in after the refund goes back too.
    function test_refund_again() public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.rounds = 1;
        StudyId id = open(params, 1);
        (Closing memory closing,) = closed(id, 1, 1, 1);
        vm.warp(block.timestamp + params.challengeSeconds);
        ward.fund(id, 7);
        ward.refund(id, closing);
        ward.fund(id, 9);
        ward.refund(id, closing);
        assertEq(ward.study(id).refunded, 16, "refunded");
    }

    function testFuzz_releaseBond_onceAllIsFinal(uint256 who) public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.rounds = 1;
        StudyId id = open(params, 1);
        address coordinator = coordinators()[bound(who, 0, 2)];
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        vm.startPrank(coordinator);
        vm.expectRevert(abi.encodeWithSelector(IWardRoundBase.WardRound_NotFinal.selector, id, 1));
        ward.releaseBond(id, closing);
        vm.warp(block.timestamp + 3 days);
        uint256 before = token.balanceOf(coordinator);
        vm.expectEmit(address(ward));
        emit IWardRoundBase.BondReleased(id, coordinator, params.bond);
        ward.releaseBond(id, closing);
        assertEq(token.balanceOf(coordinator) - before, params.bond, "returned");
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotBonded.selector, id, coordinator)
        );
        ward.releaseBond(id, closing);
        vm.stopPrank();
    }

    function test_releaseBond_whileTheStudyRunsOrBeforeItOpens() public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = create(params);
        Closing memory none;
        vm.startPrank(SECOND);
        ward.postBond(id);
        ward.releaseBond(id, none);
        ward.postBond(id);
        vm.stopPrank();
        params.code = keccak256("another");
        id = open(params, 1);
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        vm.warp(block.timestamp + 30 days);
        vm.expectRevert(abi.encodeWithSelector(IWardRoundBase.WardRound_NotFinal.selector, id, 5));
        vm.prank(SECOND);
        ward.releaseBond(id, closing);
    }

    function testFuzz_endStudy_onlyWhenEveryCoordinatorMissed(uint256 wait) public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 1);
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        uint256 due = block.timestamp + params.roundSeconds + 3 * params.graceSeconds;
        vm.startPrank(SPONSOR);
        vm.warp(due - 1 - bound(wait, 0, 1 days));
        vm.expectRevert(abi.encodeWithSelector(IWardRoundBase.WardRound_TooEarly.selector, id, due));
        ward.endStudy(id);
        vm.warp(due + bound(wait, 0, 30 days));
        vm.expectEmit(address(ward));
        emit IWardRoundBase.StudyEnded(id, 1);
        ward.endStudy(id);
        vm.expectRevert(abi.encodeWithSelector(IWardRoundBase.WardRound_StudyOver.selector, id, 1));
        ward.endStudy(id);
        vm.stopPrank();

        vm.warp(uint256(closing.closedAt) + 3 days + bound(wait, 0, 30 days));
        ward.refund(id, closing);
        assertEq(ward.study(id).refunded, 4000 ether, "four rounds were never run");
    }

    function testFuzz_endStudy_onlyBySponsor(address caller) public {
        vm.assume(caller != SPONSOR);
        StudyId id = open(sampleParams(Recording.Root), 1);
        vm.warp(block.timestamp + 30 days);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotSponsor.selector, id, caller)
        );
        vm.prank(caller);
        ward.endStudy(id);
    }

    /// Behind the deadline a study waits for no sponsor: rewards are payable, and bonds go back.
    function testFuzz_endStudy_byAnybodyBehindTheDeadline(address caller, uint256 wait) public {
        vm.assume(caller != SPONSOR);
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 1);
        uint256 deadline = block.timestamp + params.lifetimeSeconds;
        assertEq(ward.study(id).deadline, deadline, "deadline");
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        vm.warp(deadline - 1);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotSponsor.selector, id, caller)
        );
        vm.prank(caller);
        ward.endStudy(id);
        vm.warp(deadline + bound(wait, 0, 30 days));
        vm.prank(caller);
        ward.endStudy(id);
        assertEq(ward.study(id).rounds, 1, "rounds");
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(coordinators()[i]);
            ward.releaseBond(id, closing);
        }
        ward.refund(id, closing);
        assertEq(held(id), 1000 ether, "what round 1 has earned");
    }

    /// A round that is overturned behind the deadline opens again. Each standby has its turn to close
    /// it before any account ends the study again.
    function testFuzz_endStudy_notBeforeTheTurnsOfAnOverturnedRound(uint256 wait, bool closes)
        public
    {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 1);
        uint256 deadline = block.timestamp + params.lifetimeSeconds;
        wait = bound(wait, 0, params.lifetimeSeconds + 30 days);
        vm.warp(block.timestamp + wait);
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        if (block.timestamp >= deadline) ward.endStudy(id);
        overturn(id, closing);
        uint256 turns = block.timestamp + params.roundSeconds + 3 * params.graceSeconds;
        if (turns > deadline) deadline = turns;
        assertEq(ward.study(id).deadline, deadline, "deadline");
        vm.warp(turns - 1);
        if (deadline == turns) {
            vm.expectRevert(
                abi.encodeWithSelector(
                    IWardRoundBase.WardRound_NotSponsor.selector, id, address(this)
                )
            );
            ward.endStudy(id);
        }
        uint32 rounds;
        if (closes) {
            closing = closeRoot(id, 1, sampleRecord(2), SECOND);
            rounds = 1;
        } else {
            closing = beginning(params);
        }
        vm.warp(deadline);
        if (ward.study(id).rounds >= ward.study(id).head) ward.endStudy(id);
        assertEq(ward.study(id).rounds, rounds, "rounds");
        vm.warp(block.timestamp + params.challengeSeconds);
        vm.prank(SECOND);
        ward.releaseBond(id, closing);
    }

    /// Each seat postpones the end once: afterwards no coordinator is left who could.
    function test_endStudy_whenEveryCoordinatorIsOverturnedBehindTheDeadline() public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 1);
        vm.warp(block.timestamp + params.lifetimeSeconds);
        uint256 longest = uint256(params.roundSeconds) + 3 * params.graceSeconds;
        longest += 4 * uint256(params.challengeSeconds) + 2 * uint256(params.demandSeconds);
        uint256 latest = block.timestamp + 3 * longest;
        for (uint256 i = 0; i < 3; ++i) {
            Closing memory closing = closeRoot(id, 1, sampleRecord(i), coordinators()[i]);
            if (ward.study(id).head <= ward.study(id).rounds) ward.endStudy(id);
            // Just before it becomes final.
            vm.warp(block.timestamp + params.challengeSeconds - 1);
            overturn(id, closing);
            vm.warp(ward.study(id).deadline - 1);
        }
        assertEq(ward.study(id).coordinator, address(0), "no coordinator is left");
        vm.warp(ward.study(id).deadline);
        assertTrue(block.timestamp <= latest, "bounded");
        ward.endStudy(id);
        assertEq(ward.study(id).rounds, 0, "rounds");
        ward.refund(id, beginning(params));
        assertEq(held(id), ward.owed(id, address(7)) + ward.owed(id, BURNT), "all money is free");
    }

    /// Each takes over as soon as it may, and none closes the round.
    function test_endStudy_whenCoordinatorsTakeTurns() public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 1);
        closeRoot(id, 1, sampleRecord(1), FIRST);
        uint256 from = block.timestamp + 3 * (params.roundSeconds + 3 * params.graceSeconds);
        for (uint256 i = 1; i <= 3; ++i) {
            vm.warp(block.timestamp + params.roundSeconds + params.graceSeconds);
            vm.prank(coordinators()[i % 3]);
            ward.takeOver(id);
        }
        vm.startPrank(SPONSOR);
        vm.warp(from - 1);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_TooEarly.selector, id, from)
        );
        ward.endStudy(id);
        vm.warp(from);
        ward.endStudy(id);
        vm.stopPrank();
        assertEq(ward.study(id).rounds, 1, "rounds");
    }

    // ------------------------------------------------------------------ changePayout

    function testFuzz_changePayout_movesWhatIsClaimedAfterwards(address to) public {
        (StudyId id, Closing memory closing, Draft[] memory list) = earned(1, 1000 ether);
        vm.assume(to != address(0) && to != ward.escrowOf(id));
        address site = list[0].site;
        uint256 before = token.balanceOf(to);
        vm.expectEmit(address(ward));
        emit IWardRoundBase.PayoutChanged(id, site, payoutOf(site), to);
        vm.prank(payoutOf(site));
        ward.changePayout(id, site, to, "");
        assertEq(ward.site(id, site).payout, to, "payout");
        ward.claim(id, site, only(earningOf(1, closing, list, 0)));
        assertEq(token.balanceOf(to), before + 1000 ether, "paid");
    }

    function testFuzz_changePayout_onlyByThePayoutAddress(address caller) public {
        (StudyId id,, Draft[] memory list) = earned(1, 1000 ether);
        address site = list[0].site;
        vm.assume(caller != payoutOf(site));
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotPayout.selector, id, site, caller)
        );
        vm.prank(caller);
        ward.changePayout(id, site, caller, "");
        // The zero address could never be paid.
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_PayoutInvalid.selector, id, site, address(0)
            )
        );
        vm.prank(payoutOf(site));
        ward.changePayout(id, site, address(0), "");
    }

    /// Any account sends it: the signature names study, site, address and change, and serves once.
    function testFuzz_changePayout_byASignatureOnce(address caller, address to, uint256 seed)
        public
    {
        (StudyId id, Closing memory closing, Draft[] memory list) = earned(1, 1000 ether);
        (address site, uint256 key) = (list[0].site, bound(seed, 1, 2 ** 128));
        address payout = vm.addr(key);
        vm.assume(to != address(0) && to != payout && to != ward.escrowOf(id));
        vm.assume(
            caller != address(0) && caller != payout && caller != payoutOf(site) && caller != to
        );
        vm.prank(payoutOf(site));
        ward.changePayout(id, site, payout, "");

        // Of another address, and of the change before this one.
        refusePayout(id, site, caller, to, payoutSignature(id, site, payout, 1, key));
        refusePayout(id, site, caller, to, payoutSignature(id, site, to, 0, key));
        bytes memory signature = payoutSignature(id, site, to, 1, key);
        uint256 before = token.balanceOf(to);
        vm.expectEmit(address(ward));
        emit IWardRoundBase.PayoutChanged(id, site, payout, to);
        vm.prank(caller);
        ward.changePayout(id, site, to, signature);
        ward.claim(id, site, only(earningOf(1, closing, list, 0)));
        assertEq(token.balanceOf(to), before + 1000 ether, "paid");

        vm.prank(to);
        ward.changePayout(id, site, payout, "");
        refusePayout(id, site, caller, to, signature);
        // Of a site that is not known, no signature counts.
        refusePayout(id, address(0xF00), caller, to, signature);
    }

    function refusePayout(
        StudyId id,
        address site,
        address caller,
        address to,
        bytes memory signature
    ) internal {
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotPayout.selector, id, site, caller)
        );
        vm.prank(caller);
        ward.changePayout(id, site, to, signature);
    }

    function payoutSignature(StudyId id, address site, address to, uint256 change, uint256 key)
        internal
        view
        returns (bytes memory)
    {
        bytes32 typehash =
            keccak256("PayoutChange(bytes32 study,address site,address payout,uint256 change)");
        bytes32 structHash = keccak256(abi.encode(typehash, id, site, to, change));
        return signed(key, keccak256(abi.encodePacked(hex"1901", domainSeparator(), structHash)));
    }

    function testFuzz_endStudy_beforeItOpens(uint128 amount) public {
        amount = uint128(bound(amount, 1, 2 ** 100));
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = create(params);
        ward.fund(id, amount);
        vm.prank(SECOND);
        ward.postBond(id);
        vm.prank(SPONSOR);
        ward.endStudy(id);
        uint256 before = token.balanceOf(SPONSOR);
        ward.refund(id, beginning(params));
        assertEq(token.balanceOf(SPONSOR) - before, amount, "refunded");
        vm.prank(SECOND);
        ward.releaseBond(id, beginning(params));
        assertEq(held(id), 0, "nothing is left");
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_StudyAlreadyOpen.selector, id)
        );
        vm.prank(SPONSOR);
        ward.openStudy(id);
    }

    // ------------------------------------------------------------------ scenes

    /// As the court does when round 1 is proven wrong.
    function overturn(StudyId id, Closing memory closing) internal {
        vm.prank(ward.COURT());
        ward.overturn(id, 1, closing, address(7), true, "test");
    }

    /// Closes a round over entries of the first sites.
    function closed(StudyId id, uint32 round, uint256 sites, uint256 seed)
        internal
        returns (Closing memory closing, Draft[] memory list)
    {
        // With root recording, no signature is looked at: those over another model do.
        list = drafts(id, round, 0, sites, seed);
        closing = closeRoot(id, round, recordOf(list), FIRST);
    }

    /// A study whose first round is final.
    function earned(uint256 sites, uint128 reward)
        internal
        returns (StudyId id, Closing memory closing, Draft[] memory list)
    {
        StudyParams memory params = sampleParams(Recording.Root);
        params.rewardPerRound = reward;
        id = open(params, sites);
        (closing, list) = closed(id, 1, sites, reward);
        vm.warp(block.timestamp + params.challengeSeconds);
    }
    // forge-lint: disable-end(unsafe-typecast)
}

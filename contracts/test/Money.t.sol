// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    Closing,
    IWardRound,
    Record,
    Recording,
    StudyId,
    StudyParams
} from "../src/interfaces/IWardRound.sol";
import {Scene} from "./Scene.sol";

contract MoneyTest is Scene {
    // ------------------------------------------------------------------ claim

    /// OpenZeppelin's own trees, made by its JavaScript library, pay every site of theirs.
    function test_claim_acceptsTreesOfOtherTools() public {
        string memory json = vm.readFile("../tests/vectors/rewards.json");
        uint256 vectors;
        for (; vm.keyExistsJson(json, vectorKey(vectors)); ++vectors) {
            string memory key = vectorKey(vectors);
            (address[] memory sites, uint256[] memory amounts) = values(json, key);
            bytes32 root = vm.parseBytes32(vm.parseJsonString(json, string.concat(key, ".root")));
            assertEq(rewardTree(sites, amounts)[0], root, "our tree is theirs");

            (StudyId id, Closing memory closing) = earned(sites, root, 2 ** 100, vectors);
            for (uint256 i = 0; i < sites.length; ++i) {
                bytes32[] memory proof = proofAt(json, key, i);
                ward.claim(id, 1, closing, sites[i], amounts[i], proof);
                assertEq(ward.claimed(id, sites[i]), amounts[i], "claimed");
                // The vectors' sites are at most ten, each with a payout of its own.
                assertEq(token.balanceOf(payout(sites[i], vectors)), amounts[i], "at its payout");
            }
        }
        assertEq(vectors, 7, "every vector was read");
    }

    function testFuzz_claim_paysTheDifferenceOnce(
        uint256 sites,
        uint256 seed,
        uint256 who,
        address caller
    ) public {
        sites = bound(sites, 1, 12);
        who = bound(who, 0, sites - 1);
        StudyId id = open(sampleParams(Recording.Root), sites);
        address[] memory keys = addresses(siteKeys(sites));
        claimRound(id, 1, keys, amountsOf(sites, 1, seed), who, caller);
        claimRound(id, 2, keys, amountsOf(sites, 2, seed), who, caller);
    }

    /// Closes a round over a rewards tree, and claims one site's part of it as soon as it can be.
    function claimRound(
        StudyId id,
        uint32 round,
        address[] memory keys,
        uint256[] memory amounts,
        uint256 who,
        address caller
    ) internal {
        bytes32[] memory tree = rewardTree(keys, amounts);
        Record memory record = sampleRecord(round);
        record.rewards = tree[0];
        record.rewardTotal = 1000 ether * round;
        Closing memory closing = closeRoot(id, round, record, FIRST);
        address site = keys[who];
        uint256 amount = amounts[who];
        bytes32[] memory proof = rewardProof(tree, rewardLeaf(site, amount));
        uint256 before = ward.claimed(id, site);

        vm.expectRevert(abi.encodeWithSelector(IWardRound.WardRound_NotFinal.selector, id, round));
        ward.claim(id, round, closing, site, amount, proof);

        vm.warp(uint256(closing.closedAt) + 3 days);
        vm.expectEmit(address(ward));
        emit IWardRound.Claimed(id, site, payoutOf(site), amount - before, amount);
        vm.prank(caller);
        ward.claim(id, round, closing, site, amount, proof);
        assertEq(token.balanceOf(payoutOf(site)), amount, "at its payout");
        assertEq(ward.claimed(id, site), amount, "claimed");
        assertEq(ward.study(id).paid, amount, "paid");

        vm.expectRevert(abi.encodeWithSelector(IWardRound.WardRound_NothingDue.selector, id));
        ward.claim(id, round, closing, site, amount, proof);
    }

    function claimFrom(
        StudyId id,
        Closing memory closing,
        bytes32[] memory tree,
        address site,
        uint256 amount
    ) internal {
        ward.claim(id, 1, closing, site, amount, rewardProof(tree, rewardLeaf(site, amount)));
    }

    function amountsOf(uint256 sites, uint256 round, uint256 seed)
        internal
        pure
        returns (uint256[] memory amounts)
    {
        amounts = new uint256[](sites);
        for (uint256 i = 0; i < sites; ++i) {
            amounts[i] = round * (1 + uint256(keccak256(abi.encode(seed, i))) % 80 ether);
        }
    }

    function testFuzz_claim_rejectsAnyOtherAmountSiteOrProof(
        uint256 cumulative,
        uint256 what,
        uint256 bit,
        uint256 seed
    ) public {
        address[] memory sites = addresses(siteKeys(6));
        uint256[] memory amounts = new uint256[](6);
        for (uint256 i = 0; i < 6; ++i) {
            amounts[i] = 1 + uint256(keccak256(abi.encode(seed, i))) % 100 ether;
        }
        bytes32[] memory tree = rewardTree(sites, amounts);
        (StudyId id, Closing memory closing) = earned(sites, tree[0], 1000 ether, 0);
        bytes32[] memory proof = rewardProof(tree, rewardLeaf(sites[2], amounts[2]));
        address site = sites[2];
        uint256 amount = amounts[2];
        what = bound(what, 0, 2);
        if (what == 0) {
            vm.assume(cumulative != amount);
            amount = cumulative;
        } else if (what == 1) {
            site = sites[3 + bit % 3];
        } else {
            proof[bit % proof.length] ^= bytes32(bitAt(bound(bit, 0, 255)));
        }
        vm.expectRevert(
            abi.encodeWithSelector(IWardRound.WardRound_ProofInvalid.selector, site, amount)
        );
        ward.claim(id, 1, closing, site, amount, proof);
    }

    /// A tree may promise anything; together its sites get no more than the record's total.
    function testFuzz_claim_neverMoreThanTheRecord(uint128 total, uint256 a, uint256 b) public {
        address[] memory sites = addresses(siteKeys(2));
        uint256[] memory amounts = new uint256[](2);
        total = uint128(bound(total, 1, 1000 ether));
        amounts[0] = bound(a, 1, total);
        amounts[1] = bound(b, total - amounts[0] + 1, 2 ** 200);
        bytes32[] memory tree = rewardTree(sites, amounts);
        (StudyId id, Closing memory closing) = earned(sites, tree[0], total, 0);
        ward.claim(
            id,
            1,
            closing,
            sites[0],
            amounts[0],
            rewardProof(tree, rewardLeaf(sites[0], amounts[0]))
        );
        bytes32[] memory proof = rewardProof(tree, rewardLeaf(sites[1], amounts[1]));
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRound.WardRound_RewardsExceeded.selector, amounts[0] + amounts[1], total
            )
        );
        ward.claim(id, 1, closing, sites[1], amounts[1], proof);
    }

    function testFuzz_claim_onlyForSites(address stranger) public {
        address[] memory sites = new address[](1);
        sites[0] = stranger;
        uint256[] memory amounts = new uint256[](1);
        amounts[0] = 1;
        bytes32 root = rewardTree(sites, amounts)[0];
        (StudyId id, Closing memory closing) = earned(new address[](0), root, 10, 0);
        vm.assume(ward.site(id, stranger).payout == address(0));
        vm.expectRevert(
            abi.encodeWithSelector(IWardRound.WardRound_SiteUnknown.selector, id, stranger)
        );
        ward.claim(id, 1, closing, stranger, 1, new bytes32[](0));
    }

    // ------------------------------------------------------------------ endings

    function testFuzz_refund_whatNoSiteCanEarn(uint128 extra, uint128 total, uint256 part) public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.rounds = 1;
        extra = uint128(bound(extra, 0, 2 ** 100));
        total = uint128(bound(total, 1, params.rewardPerRound));
        address[] memory sites = addresses(siteKeys(1));
        uint256[] memory amounts = new uint256[](1);
        amounts[0] = bound(part, 1, total);
        StudyId id = open(params, 1);
        vm.prank(SPONSOR);
        ward.fund(id, extra);
        Record memory record = sampleRecord(1);
        record.rewards = rewardTree(sites, amounts)[0];
        record.rewardTotal = total;
        Closing memory closing = closeRoot(id, 1, record, FIRST);

        vm.expectRevert(abi.encodeWithSelector(IWardRound.WardRound_NotFinal.selector, id, 1));
        ward.refund(id, closing);
        vm.warp(block.timestamp + 3 days);
        uint256 before = token.balanceOf(SPONSOR);
        uint256 due = uint256(params.rewardPerRound) - total + extra;
        if (due == 0) {
            vm.expectRevert(abi.encodeWithSelector(IWardRound.WardRound_NothingDue.selector, id));
            ward.refund(id, closing);
        } else {
            vm.expectEmit(address(ward));
            emit IWardRound.Refunded(id, SPONSOR, due);
            ward.refund(id, closing);
            assertEq(token.balanceOf(SPONSOR) - before, due, "refunded");
            assertEq(ward.study(id).refunded, due, "state");
            vm.expectRevert(abi.encodeWithSelector(IWardRound.WardRound_NothingDue.selector, id));
            ward.refund(id, closing);
        }
        ward.claim(id, 1, closing, sites[0], amounts[0], new bytes32[](0));
    }

    /// A last record below an earlier one neither takes back what was paid nor opens other
    /// studies' money to claims on the earlier one.
    function test_refund_whenTotalsShrink() public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.rounds = 2;
        address[] memory sites = addresses(siteKeys(2));
        uint256[] memory amounts = new uint256[](2);
        (amounts[0], amounts[1]) = (300 ether, 700 ether);
        bytes32[] memory tree = rewardTree(sites, amounts);
        StudyId id = open(params, 2);
        Record memory record = sampleRecord(1);
        record.rewards = tree[0];
        Closing memory first = closeRoot(id, 1, record, FIRST);
        record = sampleRecord(2);
        record.rewardTotal = 0;
        Closing memory last = closeRoot(id, 2, record, FIRST);
        vm.warp(block.timestamp + 3 days);

        claimFrom(id, first, tree, sites[0], amounts[0]);
        ward.refund(id, last);
        assertEq(ward.study(id).refunded, 2000 ether - 300 ether, "all but what was paid");
        bytes32[] memory proof = rewardProof(tree, rewardLeaf(sites[1], amounts[1]));
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRound.WardRound_RewardsExceeded.selector, 1000 ether, 300 ether
            )
        );
        ward.claim(id, 1, first, sites[1], amounts[1], proof);
    }

    function testFuzz_releaseBond_onceAllIsFinal(uint256 who) public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.rounds = 1;
        StudyId id = open(params, 1);
        address coordinator = coordinators()[bound(who, 0, 2)];
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        vm.startPrank(coordinator);
        vm.expectRevert(abi.encodeWithSelector(IWardRound.WardRound_NotFinal.selector, id, 1));
        ward.releaseBond(id, closing);
        vm.warp(block.timestamp + 3 days);
        uint256 before = token.balanceOf(coordinator);
        vm.expectEmit(address(ward));
        emit IWardRound.BondReleased(id, coordinator, params.bond);
        ward.releaseBond(id, closing);
        assertEq(token.balanceOf(coordinator) - before, params.bond, "returned");
        vm.expectRevert(
            abi.encodeWithSelector(IWardRound.WardRound_NotBonded.selector, id, coordinator)
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
        vm.expectRevert(abi.encodeWithSelector(IWardRound.WardRound_NotFinal.selector, id, 5));
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
        vm.expectRevert(abi.encodeWithSelector(IWardRound.WardRound_TooEarly.selector, id, due));
        ward.endStudy(id);
        vm.warp(due + bound(wait, 0, 30 days));
        vm.expectEmit(address(ward));
        emit IWardRound.StudyEnded(id, 1);
        ward.endStudy(id);
        vm.expectRevert(abi.encodeWithSelector(IWardRound.WardRound_StudyOver.selector, id, 1));
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
            abi.encodeWithSelector(IWardRound.WardRound_NotSponsor.selector, id, caller)
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
            abi.encodeWithSelector(IWardRound.WardRound_NotSponsor.selector, id, caller)
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
        assertEq(token.balanceOf(address(ward)), 1000 ether, "what round 1 has earned");
    }

    /// A round that is overturned behind the deadline opens again, and the study is ended again.
    function test_endStudy_againAfterARoundIsOverturned() public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 1);
        vm.warp(block.timestamp + params.lifetimeSeconds);
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        ward.endStudy(id);
        vm.prank(address(ward.COURT()));
        ward.overturn(id, 1, closing, address(7), "test");
        ward.endStudy(id);
        assertEq(ward.study(id).rounds, 0, "rounds");
        vm.prank(SECOND);
        ward.releaseBond(id, beginning(params));
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
        vm.expectRevert(abi.encodeWithSelector(IWardRound.WardRound_TooEarly.selector, id, from));
        ward.endStudy(id);
        vm.warp(from);
        ward.endStudy(id);
        vm.stopPrank();
        assertEq(ward.study(id).rounds, 1, "rounds");
    }

    // ------------------------------------------------------------------ changePayout

    function testFuzz_changePayout_movesWhatIsClaimedAfterwards(address to) public {
        vm.assume(to != address(0) && to != address(ward));
        (StudyId id, Closing memory closing, address site) = owing(500 ether);
        uint256 before = token.balanceOf(to);
        vm.expectEmit(address(ward));
        emit IWardRound.PayoutChanged(id, site, payoutOf(site), to);
        vm.prank(payoutOf(site));
        ward.changePayout(id, site, to);
        assertEq(ward.site(id, site).payout, to, "payout");
        ward.claim(id, 1, closing, site, 500 ether, new bytes32[](0));
        assertEq(token.balanceOf(to), before + 500 ether, "paid");
    }

    function testFuzz_changePayout_onlyByThePayoutAddress(address caller) public {
        (StudyId id,, address site) = owing(500 ether);
        vm.assume(caller != payoutOf(site));
        vm.expectRevert(
            abi.encodeWithSelector(IWardRound.WardRound_NotPayout.selector, id, site, caller)
        );
        vm.prank(caller);
        ward.changePayout(id, site, caller);
        // The zero address could never be paid.
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRound.WardRound_PayoutInvalid.selector, id, site, address(0)
            )
        );
        vm.prank(payoutOf(site));
        ward.changePayout(id, site, address(0));
    }

    /// A study whose first round is final and owes its only site an amount.
    function owing(uint128 amount)
        internal
        returns (StudyId id, Closing memory closing, address site)
    {
        id = open(sampleParams(Recording.Root), 1);
        site = addresses(siteKeys(1))[0];
        Record memory record = sampleRecord(1);
        record.rewards = rewardLeaf(site, amount);
        closing = closeRoot(id, 1, record, FIRST);
        vm.warp(block.timestamp + 3 days);
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
        assertEq(token.balanceOf(address(ward)), 0, "nothing is left");
        vm.expectRevert(abi.encodeWithSelector(IWardRound.WardRound_StudyAlreadyOpen.selector, id));
        vm.prank(SPONSOR);
        ward.openStudy(id);
    }

    // ------------------------------------------------------------------ scenes

    /// A study whose first round is final and holds a rewards root.
    function earned(address[] memory sites, bytes32 root, uint128 rewardTotal, uint256 salt)
        internal
        returns (StudyId id, Closing memory closing)
    {
        StudyParams memory params = sampleParams(Recording.Root);
        params.code = bytes32(salt);
        if (rewardTotal > params.rewardPerRound) params.rewardPerRound = rewardTotal;
        id = open(params, 1);
        vm.startPrank(SPONSOR);
        for (uint256 i = 0; i < sites.length; ++i) {
            if (ward.site(id, sites[i]).payout == address(0)) {
                ward.admitSite(id, sites[i], payout(sites[i], salt), 1);
            }
        }
        vm.stopPrank();
        Record memory record = sampleRecord(1);
        record.rewards = root;
        record.rewardTotal = rewardTotal;
        closing = closeRoot(id, 1, record, FIRST);
        vm.warp(block.timestamp + params.challengeSeconds);
    }

    function payout(address site, uint256 salt) internal pure returns (address) {
        return address(bytes20(keccak256(abi.encode(site, salt))));
    }

    function vectorKey(uint256 i) internal pure returns (string memory) {
        return string.concat(".vectors[", vm.toString(i), "]");
    }

    function values(string memory json, string memory key)
        internal
        view
        returns (address[] memory sites, uint256[] memory amounts)
    {
        uint256 size;
        while (vm.keyExistsJson(json, valueKey(key, size))) ++size;
        sites = new address[](size);
        amounts = new uint256[](size);
        for (uint256 i = 0; i < size; ++i) {
            string[] memory pair = vm.parseJsonStringArray(json, valueKey(key, i));
            sites[i] = vm.parseAddress(pair[0]);
            amounts[i] = vm.parseUint(pair[1]);
        }
    }

    function valueKey(string memory key, uint256 i) internal pure returns (string memory) {
        return string.concat(key, ".values[", vm.toString(i), "]");
    }

    function proofAt(string memory json, string memory key, uint256 i)
        internal
        pure
        returns (bytes32[] memory proof)
    {
        string[] memory texts =
            vm.parseJsonStringArray(json, string.concat(key, ".proofs[", vm.toString(i), "]"));
        proof = new bytes32[](texts.length);
        for (uint256 j = 0; j < texts.length; ++j) {
            proof[j] = vm.parseBytes32(texts[j]);
        }
    }
}

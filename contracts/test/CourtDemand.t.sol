// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {DemandStatus, TallyStart, Target, What} from "../src/interfaces/ICourt.sol";
import {ICourtBase} from "../src/interfaces/ICourtBase.sol";
import {IStudies} from "../src/interfaces/IStudies.sol";
import {
    Closing,
    Recording,
    Registration,
    StudyId,
    StudyParams
} from "../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../src/interfaces/IWardRoundBase.sol";
import {CourtScene} from "./CourtScene.sol";

/// Data that is withheld: by a coordinator, whose round is overturned, or by a site, whose
/// registered contribution need not be included.
/// Each run is a whole round.
/// forge-config: deep.fuzz.runs = 1000
contract CourtDemandTest is CourtScene {
    // Every narrowed number was bounded above, or is fuzz whose upper bits may go.
    // forge-lint: disable-start(unsafe-typecast)

    // ------------------------------------------------------------------ demands

    function testFuzz_demandChunk_whatIsNotShownOverturns(uint256 seed, address closer) public {
        Story memory story = closed(seed);
        uint256 before = token.balanceOf(CHALLENGER);
        bytes32 demand = demanded(story, anyTarget(story, seed));
        uint256 deposit = story.params.deposit;
        assertEq(token.balanceOf(CHALLENGER), before - deposit, "deposit");
        vm.warp(block.timestamp + story.params.demandSeconds);
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_TooEarly.selector, block.timestamp));
        court.closeDemand(demand, story.closing);

        vm.warp(block.timestamp + 1);
        // Whoever closes it, it was the demander's challenge.
        vm.prank(closer);
        court.closeDemand(demand, story.closing);
        assertOverturned(story, deposit);
        ward.collect(story.id, CHALLENGER);
        assertEq(
            token.balanceOf(CHALLENGER), before + story.params.bond / 2, "deposit back and reward"
        );
    }

    function testFuzz_demandChunk_theHonestCanAlwaysAnswer(
        uint256 seed,
        uint256 late,
        uint96 deposit,
        address answerer
    ) public {
        vm.assume(answerer != address(0));
        StudyParams memory params = anyParams(seed, 3);
        params.deposit = uint96(bound(deposit, 1, 2 ** 90));
        Story memory story = begin(params, 3, seed);
        close(story);
        Target memory target = anyTarget(story, seed);
        bytes32 demand = demanded(story, target);
        vm.warp(block.timestamp + bound(late, 0, story.params.demandSeconds));
        bytes memory answer = answerTo(story, target);
        // With its path, whichever contract sends it: entries that are shown are claimed with it.
        vm.expectEmit(address(court));
        emit ICourtBase.Answered(demand, answerer, answer);
        vm.prank(answerer);
        court.answerDemand(demand, story.closing, answer);
        uint256 half = story.params.deposit / 2;
        bool same = answerer == FIRST;
        uint256 rest = same ? story.params.deposit : story.params.deposit - half;
        assertEq(ward.owed(story.id, answerer), rest, "to who answers, with the odd unit");
        if (!same) assertEq(ward.owed(story.id, FIRST), half, "to who was made to wait");

        vm.warp(block.timestamp + story.params.demandSeconds + 1);
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_NotDemanded.selector, demand));
        court.closeDemand(demand, story.closing);
        // Shown once is shown for ever.
        if (!ward.isFinal(story.id, story.round, story.closing)) {
            vm.expectRevert(
                abi.encodeWithSelector(ICourtBase.Court_AlreadyDemanded.selector, demand)
            );
            vm.prank(CHALLENGER);
            court.demandChunk(story.id, story.round, story.closing, story.previous, target);
        }
        assertStands(story);
    }

    function testFuzz_answerDemand_rejectsAnythingElse(uint256 seed, uint256 place, uint256 what)
        public
    {
        Story memory story = closed(seed);
        Target memory target = anyTarget(story, seed);
        bytes32 demand = demanded(story, target);
        bytes memory answer = answerTo(story, target);
        Closing memory other = abi.decode(abi.encode(story.closing), (Closing));
        ++other.closedAt;
        vm.expectRevert(
            abi.encodeWithSelector(
                ICourtBase.Court_ClosingDiffers.selector,
                keccak256(abi.encode(story.closing)),
                keccak256(abi.encode(other))
            )
        );
        court.answerDemand(demand, other, answer);
        what = bound(what, 0, 3);
        if (what == 0) {
            place = bound(place, 0, answer.length * 8 - 1);
            answer[place / 8] ^= bytes1(uint8(bitAt(place % 8)));
        }
        if (what == 1) answer = bytes.concat(answer, bytes32(place));
        if (what == 2) answer = bytes.concat(answer, hex"00");
        if (what == 3) answer = bytes("");
        try court.answerDemand(demand, story.closing, answer) {
            assertTrue(false, "other data was accepted");
        } catch {}
        answer = answerTo(story, target);
        vm.warp(block.timestamp + story.params.demandSeconds + 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                ICourtBase.Court_TooLate.selector, court.demandOf(demand).deadline
            )
        );
        court.answerDemand(demand, story.closing, answer);
    }

    /// An entry in the last second of the window, shown at its deadline; its update then; and what
    /// that proves in a tally at the very end.
    function test_demands_lastMomentsCannotWinByTime() public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.parameterCount = 300;
        Story memory story = begin(params, 3, 4);
        story.model[7] ^= 1;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        close(story);
        vm.warp(story.closing.closedAt + params.challengeSeconds - 1);
        Target memory target = Target(What.Entry, 1, 0, "", new bytes32[](0));
        bytes32 demand = demanded(story, target);
        vm.warp(block.timestamp + params.demandSeconds);
        court.answerDemand(demand, story.closing, answerTo(story, target));

        vm.warp(block.timestamp + params.challengeSeconds - 1);
        target = Target(What.Update, 0, 1, packed(story.list[1]), entryPath(story, 1));
        demand = demanded(story, target);
        vm.warp(block.timestamp + params.demandSeconds);
        court.answerDemand(demand, story.closing, answerTo(story, target));

        vm.warp(block.timestamp + params.challengeSeconds - 1);
        TallyStart memory start;
        start.coordinate = 7;
        start.base = opening(bytesOf(story.base), 0);
        start.model = opening(bytesOf(story.model), 0);
        vm.startPrank(CHALLENGER);
        uint256 tally = court.openTally(story.id, 1, story.closing, story.previous, start);
        vm.warp(block.timestamp + params.challengeSeconds - 1);
        court.addToTally(tally, packed(story.list), openings(story, 0, 0, 3), "");
        court.finishTally(tally, story.closing);
        vm.stopPrank();
        assertOverturned(story, params.deposit);
    }

    /// Who makes a round wait with a demand that it answers itself pays half of the deposit for it.
    function test_answerDemand_byItsAuthorCostsHalf() public {
        Story memory story = closed(1);
        Target memory target = Target(What.Model, 0, 0, "", new bytes32[](0));
        bytes32 demand = demanded(story, target);
        bytes memory answer = answerTo(story, target);
        vm.prank(CHALLENGER);
        court.answerDemand(demand, story.closing, answer);
        uint256 half = story.params.deposit / 2;
        assertEq(ward.owed(story.id, CHALLENGER), story.params.deposit - half, "the rest");
        assertEq(ward.owed(story.id, FIRST), half, "the price of the wait");
    }

    function test_closeDemand_ofARoundThatIsGone() public {
        Story memory story = closed(1);
        Target memory target = Target(What.Model, 0, 0, "", new bytes32[](0));
        uint256 before = token.balanceOf(CHALLENGER);
        bytes32 demand = demanded(story, target);
        target.what = What.Base;
        // Later, so that it can still be answered when the first one overturns the round.
        vm.warp(block.timestamp + 1);
        bytes32 other = demanded(story, target);
        vm.warp(block.timestamp + story.params.demandSeconds);
        court.closeDemand(demand, story.closing);
        assertOverturned(story, story.params.bond / 10);
        bytes memory answer = answerTo(story, target);
        vm.expectRevert(
            abi.encodeWithSelector(
                ICourtBase.Court_NotChallengeable.selector, story.id, story.round
            )
        );
        court.answerDemand(other, story.closing, answer);

        vm.expectEmit(address(court));
        emit ICourtBase.DemandLapsed(other);
        court.closeDemand(other, story.closing);
        ward.collect(story.id, CHALLENGER);
        uint256 reward = story.params.bond / 2;
        assertEq(token.balanceOf(CHALLENGER), before + reward, "both deposits, and the reward");
    }

    function test_closeDemand_ofARoundMadeFinalByAuditors() public {
        Story memory story = closed(1);
        bytes32 demand = demanded(story, Target(What.Model, 0, 0, "", new bytes32[](0)));
        bytes32 stored = ward.commitment(story.id, story.round);
        vm.warp(block.timestamp + story.params.objectionSeconds);
        ward.attest(
            story.id, story.round, story.closing, attestations(story.id, story.round, stored, 2)
        );
        court.closeDemand(demand, story.closing);
        assertTrue(court.demandOf(demand).status == DemandStatus.Closed, "closed");
        assertStands(story);
    }

    function test_multicall_demandsAndAnswersAsTheCaller() public {
        Story memory story = closed(1);
        bytes[] memory demands = new bytes[](3);
        bytes[] memory answers = new bytes[](3);
        for (uint32 i = 0; i < 3; ++i) {
            Target memory target = Target(What.Entry, i, 0, "", new bytes32[](0));
            demands[i] = abi.encodeCall(
                court.demandChunk, (story.id, story.round, story.closing, story.previous, target)
            );
        }
        vm.prank(CHALLENGER);
        bytes[] memory results = court.multicall(demands);
        for (uint32 i = 0; i < 3; ++i) {
            bytes32 demand = abi.decode(results[i], (bytes32));
            assertEq(court.demandOf(demand).demander, CHALLENGER, "demander");
            bytes memory answer = abi.encodePacked(packed(story.list[i]), entryPath(story, i));
            answers[i] = abi.encodeCall(court.answerDemand, (demand, story.closing, answer));
        }
        // All or none.
        bytes memory last = answers[2];
        answers[2] = answers[0];
        bytes32 first = abi.decode(results[0], (bytes32));
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_NotDemanded.selector, first));
        court.multicall(answers);
        answers[2] = last;
        court.multicall(answers);
        assertStands(story);
        assertEq(ward.owed(story.id, FIRST), 3 * (story.params.deposit / 2), "to who closed");
    }

    function test_demandChunk_refusals() public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.parameterCount = 257;
        Story memory story = begin(params, 3, 1);
        close(story);
        Target memory target = Target(What.Model, 2, 0, "", new bytes32[](0));
        refused(
            story, target, abi.encodeWithSelector(ICourtBase.Court_TargetUnknown.selector, 2, 2)
        );
        target = Target(What.Update, 0, 1, packed(story.list[0]), entryPath(story, 0));
        refused(
            story, target, abi.encodeWithSelector(ICourtBase.Court_EntryNotIncluded.selector, 1)
        );
        target.what = What.Model;
        bytes32 demand = demanded(story, target);
        refused(
            story, target, abi.encodeWithSelector(ICourtBase.Court_AlreadyDemanded.selector, demand)
        );
    }

    // ------------------------------------------------------------------ contribute, omission

    function testFuzz_challengeOmission_provesWhoWasLeftOut(uint256 seed, uint256 out) public {
        uint256 sites = 2 + pick(seed, "sites", 6);
        StudyParams memory params = anyParams(seed, sites - 1);
        Story memory story = begin(params, sites, seed);
        out = bound(out, 0, sites - 1);
        Draft memory left = story.list[out];
        register(story, left);
        story = without(story, out);
        vm.warp(block.timestamp + params.graceSeconds + 1);
        close(story);
        omission(story, left.site, out);
        assertOverturned(story);
    }

    function testFuzz_challengeOmission_neverOverturnsTheHonest(
        uint256 seed,
        uint256 index,
        uint256 place
    ) public {
        Story memory story = begin(anyParams(seed, 4), 4, seed);
        index = bound(index, 0, 3);
        register(story, story.list[index]);
        vm.warp(block.timestamp + story.params.graceSeconds + 1);
        close(story);
        place = bound(place, 0, 5);
        bytes32[] memory none = new bytes32[](0);
        bytes memory before = place > 0 && place < 5 ? packed(story.list[place - 1]) : bytes("");
        bytes memory behind = place < 4 ? packed(story.list[place]) : bytes("");
        bytes32[] memory beforePath = place > 0 && place < 5 ? entryPath(story, place - 1) : none;
        bytes32[] memory behindPath = place < 4 ? entryPath(story, place) : none;
        address site = story.list[index].site;
        vm.prank(CHALLENGER);
        try court.challengeOmission(
            story.id, 1, story.closing, site, uint32(place), before, behind, beforePath, behindPath
        ) {
            assertTrue(false, "an honest round was overturned");
        } catch {}
        assertStands(story);
    }

    /// A site that registered in time had to be included, no matter when the round is closed.
    function testFuzz_challengeOmission_ofAllWhoRegistered(uint256 seed, uint256 time, uint256 more)
        public
    {
        StudyParams memory params = sampleParams(Recording.Full);
        params.parameterCount = 3;
        Story memory story = begin(params, 3, seed);
        Draft memory left = story.list[1];
        uint256 from = block.timestamp + params.registrationSeconds;
        vm.warp(block.timestamp + bound(time, 0, params.registrationSeconds - 1));
        register(story, left);
        story = without(story, 1);
        vm.warp(from + bound(more, 0, 365 days));
        close(story);
        omission(story, left.site, 1);
        assertOverturned(story);
    }

    function testFuzz_contribute_notFromTheCutOffOn(uint256 seed, uint256 time) public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.parameterCount = 3;
        Story memory story = begin(params, 3, seed);
        uint256 from = block.timestamp + params.registrationSeconds;
        vm.warp(from + bound(time, 0, 365 days));
        bytes memory entry = packed(story.list[1]);
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_RegistrationOver.selector, story.id, from
            )
        );
        ward.contribute(story.id, 1, story.previous, entry);
    }

    /// Who takes over leaves the sites their time again, and has to include who registered before.
    function test_contribute_againstWhoTakesOver() public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.parameterCount = 3;
        Story memory story = begin(params, 3, 1);
        register(story, story.list[1]);
        vm.warp(block.timestamp + params.roundSeconds + params.graceSeconds);
        vm.prank(SECOND);
        ward.takeOver(story.id);
        register(story, story.list[0]);
        Draft memory left = story.list[1];
        story = without(story, 1);
        close(story, SECOND);
        omission(story, left.site, 1);
        assertOverturned(story);
    }

    /// A coordinator that waits for data which nobody shows may leave the site out.
    function testFuzz_demandContribution_unansweredVoids(uint256 seed, uint256 chunk, bool waits)
        public
    {
        StudyParams memory params = sampleParams(Recording.Root);
        // Two chunks take twenty times as long as one.
        params.parameterCount = seed % 4 == 0 ? 260 : 3;
        Story memory story = begin(params, 3, seed);
        Draft memory left = story.list[1];
        register(story, left);
        ask(story, FIRST, left.site, 0, uint32(bound(chunk, 1, chunksOf(params))));
        story = without(story, 1);
        vm.warp(block.timestamp + params.demandSeconds + (waits ? 1 : 0));
        close(story);
        if (!waits) {
            omission(story, left.site, 1);
            assertOverturned(story);
            return;
        }
        bytes[2] memory pair = [packed(story.list[0]), packed(story.list[1])];
        bytes32[][2] memory paths = [entryPath(story, 0), entryPath(story, 1)];
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_RegistrationVoid.selector, left.site)
        );
        court.challengeOmission(
            story.id, 1, story.closing, left.site, 1, pair[0], pair[1], paths[0], paths[1]
        );
        assertStands(story);
    }

    function testFuzz_answerContribution_keepsItAlive(uint256 seed, uint256 chunk, uint256 place)
        public
    {
        StudyParams memory params = sampleParams(Recording.Root);
        // Two chunks take twenty times as long as one.
        params.parameterCount = seed % 4 == 0 ? 260 : 3;
        Story memory story = begin(params, 3, seed);
        Draft memory left = story.list[1];
        register(story, left);
        uint32 count = uint32(bound(chunk, 1, chunksOf(params)));
        ask(story, FIRST, left.site, 0, count);
        vm.warp(block.timestamp + params.demandSeconds);
        Shown memory wrong = shownOf(bytesOf(story.updates[1]), 0, count);
        place = bound(place, 0, wrong.data.length - 1);
        wrong.data[place] ^= 0x10;
        bytes memory entry = packed(left);
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NotIncluded.selector, left.update, 0)
        );
        court.answerContribution(story.id, 1, behind(story), entry, 0, wrong.data, wrong.path);
        show(story, 1, 0, count);

        story = without(story, 1);
        vm.warp(block.timestamp + 1);
        close(story);
        omission(story, left.site, 1);
        assertOverturned(story);
    }

    /// What no model can hold need not be included.
    function test_refuseContribution_ofASumOutOfRange() public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.parameterCount = 300;
        Story memory story = begin(params, 3, 2);
        story.base[280] = -5;
        params.initialModel = vectorRoot(bytesOf(story.base));
        params.code = bytes32(0);
        story.id = open(params, 3);
        story.previous = beginning(params);
        story.updates[1][280] = type(int32).min + 4;
        story.list[1].update = vectorRoot(bytesOf(story.updates[1]));
        for (uint256 i = 0; i < 3; ++i) {
            sign(story, i);
        }
        Draft memory left = story.list[1];
        register(story, left);
        bytes memory update = opening(bytesOf(story.updates[1]), 1);
        bytes memory base = opening(bytesOf(story.base), 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                ICourtBase.Court_ContributionFits.selector,
                281,
                int256(story.base[281]) + story.updates[1][281]
            )
        );
        court.refuseContribution(story.id, 1, story.previous, packed(left), 281, update, base);
        court.refuseContribution(story.id, 1, story.previous, packed(left), 280, update, base);
        assertTrue(standingOf(story, left.site).refused, "refused");

        story = without(story, 1);
        story.closing.record = recordOf(story.list);
        vm.warp(block.timestamp + params.graceSeconds + 1);
        close(story);
        bytes[2] memory pair = [packed(story.list[0]), packed(story.list[1])];
        bytes32[][2] memory paths = [entryPath(story, 0), entryPath(story, 1)];
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_RegistrationVoid.selector, left.site)
        );
        court.challengeOmission(
            story.id, 1, story.closing, left.site, 1, pair[0], pair[1], paths[0], paths[1]
        );
    }

    function testFuzz_contribute_onlyWhatClosingWouldAccept(uint256 seed, uint256 place) public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.parameterCount = 3;
        Story memory story = begin(params, 2, seed);
        bytes memory entry = packed(story.list[0]);
        place = bound(place, 0, entry.length * 8 - 1);
        bytes memory wrong = bytes.concat(entry);
        wrong[place / 8] ^= bytes1(uint8(bitAt(place % 8)));
        try ward.contribute(story.id, 1, story.previous, wrong) {
            assertTrue(false, "a flipped bit was registered");
        } catch {}
        ward.contribute(story.id, 1, story.previous, entry);
        Registration memory kept = ward.registration(story.id, 1, behind(story), story.list[0].site);
        assertEq(kept.entryHash, keccak256(entry), "entry");
        assertEq(kept.sender, address(this), "sender");
        assertEq(kept.registeredAt, block.timestamp, "time");
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_AlreadyRegistered.selector, story.id, 1, story.list[0].site
            )
        );
        ward.contribute(story.id, 1, story.previous, entry);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_RoundNotOpen.selector, story.id, 2, 1)
        );
        ward.contribute(story.id, 2, story.previous, entry);
        close(story);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_RoundNotOpen.selector, story.id, 1, 2)
        );
        ward.contribute(story.id, 1, story.previous, entry);
    }

    /// For another model, another contribution: the site registers again.
    function test_contribute_againWhenTheRoundBeforeWasOverturned() public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.parameterCount = 4;
        Story memory story = begin(params, 3, 1);
        int32 right = story.model[0];
        story.model[0] ^= 1;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        close(story);
        Story memory next = following(story, 3, 2);
        register(next, next.list[1]);
        challengeCoordinate(story, 0);
        story.model[0] = right;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        close(story, SECOND);

        // The next round, closed without the site: what it registered was for a model now gone.
        next = following(story, 3, 2);
        Draft memory left = next.list[1];
        next = without(next, 1);
        bytes[2] memory pair = [packed(next.list[0]), packed(next.list[1])];
        bytes32[][2] memory paths = [entryPath(next, 0), entryPath(next, 1)];
        close(next, SECOND);
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NotRegistered.selector, next.id, 2, left.site)
        );
        court.challengeOmission(
            next.id, 2, next.closing, left.site, 1, pair[0], pair[1], paths[0], paths[1]
        );
    }

    function test_demandContribution_refusals() public {
        StudyParams memory params = sampleParams(Recording.Full);
        Story memory story = begin(params, 2, 1);
        address site = story.list[0].site;
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NotRegistered.selector, story.id, 1, site)
        );
        vm.prank(FIRST);
        court.demandContribution(story.id, 1, site, 0, 1);
        register(story, story.list[0]);
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NotCoordinator.selector, story.id, SECOND)
        );
        vm.prank(SECOND);
        court.demandContribution(story.id, 1, site, 0, 1);
        vm.startPrank(FIRST);
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_TargetUnknown.selector, 5, 4));
        court.demandContribution(story.id, 1, site, 0, 5);
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_TargetUnknown.selector, 0, 4));
        court.demandContribution(story.id, 1, site, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_ChunkUnexpected.selector, 1, 0));
        court.demandContribution(story.id, 1, site, 1, 1);
        court.demandContribution(story.id, 1, site, 0, 2);
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_ChunkUnexpected.selector, 0, 2));
        court.demandContribution(story.id, 1, site, 0, 2);
        vm.warp(block.timestamp + params.demandSeconds + 1);
        // Void once is void: a later demand does not bring it back.
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_RegistrationVoid.selector, site));
        court.demandContribution(story.id, 1, site, 2, 1);
        vm.stopPrank();
    }

    /// Who takes over waits for what its predecessor has demanded, so that one payer has it back.
    function test_demandContribution_notWhileAnothersIsOpen() public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.demandSeconds = 3 days;
        Story memory story = begin(params, 2, 1);
        address site = story.list[0].site;
        register(story, story.list[0]);
        ask(story, FIRST, site, 0, 1);
        vm.warp(block.timestamp + params.roundSeconds + params.graceSeconds);
        vm.startPrank(SECOND);
        ward.takeOver(story.id);
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NotCoordinator.selector, story.id, FIRST)
        );
        court.demandContribution(story.id, 1, site, 1, 1);
        vm.stopPrank();
        show(story, 0, 0, 1);
        ask(story, SECOND, site, 1, 3);
        assertEq(standingOf(story, site).payer, SECOND, "payer");
    }

    // ------------------------------------------------------------------ deposits of registrations

    /// Whatever was registered, demanded, shown and closed: the deposit is credited once, to the
    /// sender unless bytes stayed hidden, and chunks are paid once, to who shows or who asked.
    function testFuzz_closeContribution_paysOnce(uint256 seed, uint32 asked, uint32 shown) public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.deposit = uint96(bound(seed, 1, 2 ** 60));
        Story memory story = begin(params, 3, seed);
        address site = story.list[1].site;
        uint256 before = held(story.id);
        register(story, story.list[1]);
        asked = uint32(bound(asked, 0, 4));
        shown = uint32(bound(shown, 0, asked));
        if (asked > 0) ask(story, FIRST, site, 0, asked);
        if (shown > 0) show(story, 1, 0, shown);
        uint256 price = params.deposit / 4;
        assertEq(ward.owed(story.id, address(this)), price * shown, "shown");
        if (asked == shown) {
            // While the round is open it can be demanded again.
            vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_NothingDue.selector, site));
            closeContribution(story, site);
            close(story);
            // Nor when the round may open again, or hiding its bytes would be free then.
            vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_NothingDue.selector, site));
            closeContribution(story, site);
            vm.warp(block.timestamp + params.challengeSeconds);
        } else {
            vm.expectRevert(
                abi.encodeWithSelector(
                    ICourtBase.Court_TooEarly.selector, block.timestamp + params.demandSeconds
                )
            );
            closeContribution(story, site);
            vm.warp(block.timestamp + params.demandSeconds + 1);
        }
        closeContribution(story, site);
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_NothingDue.selector, site));
        closeContribution(story, site);
        uint256 hidden = asked - shown;
        if (hidden > 0) {
            assertEq(ward.owed(story.id, FIRST), params.deposit + price * hidden, "to who asked");
        } else {
            assertEq(
                ward.owed(story.id, address(this)), params.deposit + price * shown, "to who sent"
            );
        }
        assertEq(held(story.id), before + params.deposit + price * asked, "all of it is there");
    }

    /// The one who sends is any account; the site itself needs no token.
    function test_contribute_takesTheDepositOfWhoSends() public {
        Story memory story = begin(sampleParams(Recording.Root), 3, 1);
        uint256 before = token.balanceOf(CHALLENGER);
        bytes memory entry = packed(story.list[1]);
        vm.prank(CHALLENGER);
        ward.contribute(story.id, 1, story.previous, entry);
        assertEq(token.balanceOf(CHALLENGER), before - story.params.deposit, "taken");
        close(story);
        vm.warp(block.timestamp + story.params.challengeSeconds);
        closeContribution(story, story.list[1].site);
        ward.collect(story.id, CHALLENGER);
        assertEq(token.balanceOf(CHALLENGER), before, "and given back");
    }

    /// Who demands and at once closes the round with the site in it does not earn its deposit.
    function test_closeContribution_ofASiteInTheRound() public {
        Story memory story = begin(sampleParams(Recording.Root), 3, 1);
        address site = story.list[1].site;
        register(story, story.list[1]);
        ask(story, FIRST, site, 0, 4);
        close(story);
        vm.warp(block.timestamp + story.params.demandSeconds + 1);
        closeContribution(story, site);
        assertEq(ward.owed(story.id, address(this)), story.params.deposit, "the deposit");
        assertEq(ward.owed(story.id, FIRST), story.params.deposit, "the payment");
    }

    /// Another account shows a chunk first: what the site shows with it counts from there.
    function test_answerContribution_whenAnotherShowsAPart() public {
        Story memory story = begin(sampleParams(Recording.Root), 3, 1);
        address site = story.list[1].site;
        register(story, story.list[1]);
        ask(story, FIRST, site, 0, 4);
        bytes memory update = bytesOf(story.updates[1]);
        bytes memory entry = packed(story.list[1]);
        Shown memory part = shownOf(update, 0, 1);
        vm.prank(CHALLENGER);
        court.answerContribution(story.id, 1, behind(story), entry, 0, part.data, part.path);
        Shown memory all = shownOf(update, 0, 4);
        court.answerContribution(story.id, 1, behind(story), entry, 0, all.data, all.path);
        uint256 price = story.params.deposit / 4;
        assertEq(ward.owed(story.id, CHALLENGER), price, "one chunk");
        assertEq(ward.owed(story.id, address(this)), 3 * price, "three chunks");
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_ChunkUnexpected.selector, 0, 4));
        court.answerContribution(story.id, 1, behind(story), entry, 0, all.data, all.path);
    }

    /// Nothing is demanded of a registration for a round that an ended study has not.
    function test_demandContribution_whenTheStudyWasEnded() public {
        Story memory story = begin(sampleParams(Recording.Root), 3, 1);
        address site = story.list[1].site;
        register(story, story.list[1]);
        vm.warp(block.timestamp + story.params.lifetimeSeconds);
        ward.endStudy(story.id);
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NotCoordinator.selector, story.id, FIRST)
        );
        vm.prank(FIRST);
        court.demandContribution(story.id, 1, site, 0, 1);
        closeContribution(story, site);
        assertEq(ward.owed(story.id, address(this)), story.params.deposit, "back");
    }

    /// How much may be demanded follows from how much was shown.
    function testFuzz_demandContribution_noMoreThanWasShownFor(uint32 count) public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.parameterCount = 256 * 5_000;
        StudyId id = open(params, 3);
        Draft[] memory list = drafts(id, 1, params.initialModel, 3, 1);
        Closing memory none;
        none.record.model = params.initialModel;
        ward.contribute(id, 1, none, packed(list[0]));
        count = uint32(bound(count, 1, 5_000));
        if (count > 64) {
            vm.expectRevert(
                abi.encodeWithSelector(ICourtBase.Court_TooManyChunks.selector, count, 64)
            );
        }
        vm.prank(FIRST);
        court.demandContribution(id, 1, list[0].site, 0, count);
    }

    /// Of a base that was overturned, each sender has its deposit back, and the site registers again.
    function test_closeContribution_whenTheRoundBeforeWasOverturned() public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.parameterCount = 4;
        Story memory story = begin(params, 3, 1);
        story.model[0] ^= 1;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        close(story);
        Story memory next = following(story, 3, 2);
        register(next, next.list[1]);
        challengeCoordinate(story, 0);
        closeContribution(next, next.list[1].site);
        assertEq(ward.owed(story.id, address(this)), params.deposit, "back");
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NothingDue.selector, next.list[1].site)
        );
        closeContribution(next, next.list[1].site);
    }

    /// What is refused has cost the coordinator that demanded it, so it has the deposit.
    function test_refuseContribution_paysWhoDemanded() public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.parameterCount = 4;
        params.updateBound = 1;
        Story memory story = begin(params, 3, 3);
        story.updates[1][2] = 2;
        story.base[2] = 0;
        story.list[1].update = vectorRoot(bytesOf(story.updates[1]));
        sign(story, 1);
        address site = story.list[1].site;
        register(story, story.list[1]);
        ask(story, FIRST, site, 0, 1);
        show(story, 1, 0, 1);
        bytes memory update = opening(bytesOf(story.updates[1]), 0);
        bytes memory base = opening(bytesOf(story.base), 0);
        bytes memory entry = packed(story.list[1]);
        vm.prank(CHALLENGER);
        court.refuseContribution(story.id, 1, story.previous, entry, 2, update, base);
        assertEq(ward.owed(story.id, FIRST), params.deposit, "to who demanded");
        close(without(story, 1));
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_NothingDue.selector, site));
        closeContribution(story, site);
    }

    /// A round that is overturned needs the bytes once more: the deposit is there as long.
    function test_closeContribution_whenTheRoundWasOverturned() public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.parameterCount = 4;
        Story memory story = begin(params, 3, 1);
        address site = story.list[1].site;
        register(story, story.list[1]);
        story.model[0] ^= 1;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        close(story);
        challengeCoordinate(story, 0);
        ask(story, SECOND, site, 0, 1);
        vm.warp(block.timestamp + params.demandSeconds + 1);
        closeContribution(story, site);
        assertEq(ward.owed(story.id, SECOND), 2 * uint256(params.deposit), "stake and payment");
    }

    /// The deposit's time is the stored closing's, not one that a caller makes up.
    function testFuzz_closeContribution_takesNoOtherClosing(uint64 closedAt) public {
        Story memory story = begin(sampleParams(Recording.Root), 3, 1);
        register(story, story.list[1]);
        close(story);
        bytes32 stored = ward.commitment(story.id, 1);
        vm.assume(closedAt != story.closing.closedAt);
        story.closing.closedAt = closedAt;
        bytes32 given = keccak256(abi.encode(story.closing));
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_CommitmentDiffers.selector, story.id, 1, stored, given
            )
        );
        closeContribution(story, story.list[1].site);
    }

    // ------------------------------------------------------------------ inside

    function closeContribution(Story memory story, address site) internal {
        court.closeContribution(story.id, story.round, story.closing, behind(story), site);
    }

    function chunksOf(StudyParams memory params) internal pure returns (uint256) {
        return (uint256(params.parameterCount) + 255) / 256;
    }

    function closed(uint256 seed) internal returns (Story memory story) {
        story = begin(anyParams(seed, 3), 3, seed);
        close(story);
    }

    function anyTarget(Story memory story, uint256 seed)
        internal
        pure
        returns (Target memory target)
    {
        target.what = What(pick(seed, "what", 4));
        // Also under full recording: entries may be where no reader of the chain's history finds them.
        if (target.what == What.Entry) {
            target.index = uint32(pick(seed, "index", 3));
            return target;
        }
        target.index = uint32(pick(seed, "index", (story.base.length + 255) / 256));
        if (target.what == What.Update) {
            target.entryIndex = uint32(pick(seed, "entry", 3));
            target.entry = packed(story.list[target.entryIndex]);
            target.path = entryPath(story, target.entryIndex);
        }
    }

    function answerTo(Story memory story, Target memory target)
        internal
        pure
        returns (bytes memory)
    {
        if (target.what == What.Entry) {
            return abi.encodePacked(
                packed(story.list[target.index]), entryPath(story, target.index)
            );
        }
        int32[] memory vector = story.model;
        if (target.what == What.Base) vector = story.base;
        if (target.what == What.Update) vector = story.updates[target.entryIndex];
        return opening(bytesOf(vector), target.index);
    }

    function demanded(Story memory story, Target memory target) internal returns (bytes32) {
        vm.prank(CHALLENGER);
        return court.demandChunk(story.id, story.round, story.closing, story.previous, target);
    }

    function refused(Story memory story, Target memory target, bytes memory reason) internal {
        vm.expectRevert(reason);
        vm.prank(CHALLENGER);
        court.demandChunk(story.id, story.round, story.closing, story.previous, target);
    }

    function register(Story memory story, Draft memory draft) internal {
        ward.contribute(story.id, story.round, story.previous, packed(draft));
    }

    function omission(Story memory story, address site, uint256 place) internal {
        bytes32[] memory none = new bytes32[](0);
        bool first = place == 0;
        bool last = place == story.list.length;
        bytes memory before = first ? bytes("") : packed(story.list[place - 1]);
        bytes memory behind = last ? bytes("") : packed(story.list[place]);
        bytes32[] memory beforePath = first ? none : entryPath(story, place - 1);
        bytes32[] memory behindPath = last ? none : entryPath(story, place);
        vm.prank(CHALLENGER);
        court.challengeOmission(
            story.id,
            story.round,
            story.closing,
            site,
            uint32(place),
            before,
            behind,
            beforePath,
            behindPath
        );
    }
    // forge-lint: disable-end(unsafe-typecast)
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "../src/interfaces/IChallenges.sol";
import {TallyStart, Target, What} from "../src/interfaces/ICourt.sol";
import {ICourtBase} from "../src/interfaces/ICourtBase.sol";
import {IDemands} from "../src/interfaces/IDemands.sol";
import {Recording, StudyParams} from "../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../src/interfaces/IWardRoundBase.sol";
import {CourtScene} from "./CourtScene.sol";
import {OddToken} from "./attacks/OddToken.sol";

/// Challenges that are committed to first and revealed later. Each run is a whole round.
/// forge-config: deep.fuzz.runs = 2000
contract CourtCommitTest is CourtScene {
    // Times have 64 bits, and literals of text 32 bytes.
    // forge-lint: disable-start(unsafe-typecast)
    address internal constant FRIEND = address(0xF21E);
    address internal constant BURNT = 0x000000000000000000000000000000000000dEaD;
    bytes32 internal constant SALT = "salt";
    uint256 internal constant REVEAL_SECONDS = 10 minutes;

    function setUp() public override {
        super.setUp();
        // forge-lint: disable-next-line(erc20-unchecked-transfer)
        token.transfer(FRIEND, 2 ** 100);
        vm.prank(FRIEND);
        token.approve(address(ward), type(uint256).max);
    }

    // ------------------------------------------------------------------ commit, reveal

    function testFuzz_revealChallenge_overturnsAndReturnsTheDeposit(uint256 wait) public {
        Story memory story = cheated();
        bytes memory data = challengeOf(story);
        uint256 before = token.balanceOf(CHALLENGER);
        bytes32 commitment = commitmentTo(CHALLENGER, data);
        uint64 until = uint64(block.timestamp + REVEAL_SECONDS);
        bytes32 closed = keccak256(abi.encode(story.closing));
        vm.expectEmit(address(court));
        emit ICourtBase.Committed(story.id, 1, CHALLENGER, closed, commitment, until);
        commit(story, CHALLENGER, commitment);
        assertEq(token.balanceOf(CHALLENGER), before - story.params.deposit, "deposit");

        vm.warp(block.timestamp + bound(wait, 1, REVEAL_SECONDS));
        vm.expectEmit(address(court));
        emit ICourtBase.Revealed(story.id, 1, CHALLENGER, commitment);
        reveal(story, CHALLENGER, data);
        assertOverturned(story, story.params.deposit);
        ward.collect(story.id, CHALLENGER);
        uint256 reward = story.params.bond / 2;
        assertEq(token.balanceOf(CHALLENGER), before + reward, "deposit back and reward");
    }

    /// The friend sees the revealed data before it is mined: it can send the reveal, or a commitment of
    /// its own.
    function test_revealChallenge_whenAFriendOfTheCoordinatorCopiesIt() public {
        Story memory story = cheated();
        bytes memory data = challengeOf(story);
        commit(story, CHALLENGER, commitmentTo(CHALLENGER, data));
        vm.warp(block.timestamp + 12);

        bytes32 copied = commitmentTo(FRIEND, data);
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_NotCommitted.selector, copied));
        reveal(story, FRIEND, data);
        commit(story, FRIEND, copied);
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_TooEarly.selector, block.timestamp + 1)
        );
        reveal(story, FRIEND, data);

        reveal(story, CHALLENGER, data);
        assertOverturned(story, story.params.deposit);
        assertEq(ward.owed(story.id, BURNT), (story.params.bond + 1) / 2, "the other half");
    }

    // ------------------------------------------------------------------ in the open

    /// Or it sends the challenge itself: the round is overturned, and the coordinator loses all.
    function test_challenge_whenAFriendCopiesWhatIsToBeRevealed() public {
        Story memory story = cheated();
        bytes memory data = challengeOf(story);
        bytes32 commitment = commitmentTo(CHALLENGER, data);
        commit(story, CHALLENGER, commitment);
        vm.warp(block.timestamp + 12);

        vm.expectEmit(address(ward));
        emit IWardRoundBase.Slashed(story.id, FIRST, FRIEND, 0, story.params.bond);
        challengeAs(story, FRIEND);
        assertUnpaid(story);
        assertEq(ward.owed(story.id, FRIEND), 0, "a copy earns nothing");
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NotChallengeable.selector, story.id, 1)
        );
        reveal(story, CHALLENGER, data);
        court.closeCommitment(story.id, 1, story.closing, CHALLENGER, commitment);
        assertEq(ward.owed(story.id, CHALLENGER), story.params.deposit, "the deposit is back");
    }

    /// Or it counts the same in a tally of its own, in one transaction.
    function testFuzz_finishTally_ofACopyEarnsNothing(bool totals) public {
        Story memory story = totals ? wrongTotals() : cheated();
        commit(story, CHALLENGER, "anything");
        vm.warp(block.timestamp + 12);
        uint256 tally = counted(story, FRIEND, totals);
        vm.prank(FRIEND);
        court.finishTally(tally, story.closing);
        assertUnpaid(story);
        assertEq(ward.owed(story.id, FRIEND), story.params.deposit, "the tally's deposit alone");
    }

    /// Not by its author either: otherwise a friend would commit to anything, and then copy.
    function test_challenge_inTheOpenByWhoHasCommitted() public {
        Story memory story = cheated();
        commit(story, FRIEND, "anything");
        challengeAs(story, FRIEND);
        assertUnpaid(story);
        assertEq(ward.owed(story.id, FRIEND), 0, "nothing");
    }

    function testFuzz_challenge_isPaidOnceACommitmentHasLapsed(uint256 late) public {
        Story memory story = cheated();
        commit(story, FRIEND, "anything");
        vm.warp(block.timestamp + bound(late, REVEAL_SECONDS + 1, 1 days));
        challengeAs(story, CHALLENGER);
        assertOverturned(story);
    }

    /// Commitments that a friend renews keep no one from challenging, and no one who reveals from its
    /// reward.
    function testFuzz_challenge_whileAFriendRenewsCommitments(uint256 renewals, bool reveals)
        public
    {
        Story memory story = cheated();
        for (uint256 i = 0; i < bound(renewals, 1, 20); ++i) {
            commit(story, FRIEND, bytes32(i));
            vm.warp(block.timestamp + REVEAL_SECONDS);
        }
        commit(story, FRIEND, "the last");
        if (!reveals) {
            // Without a token, and so without a deposit.
            challengeAs(story, address(0x9002));
            assertUnpaid(story);
            return;
        }
        bytes memory data = challengeOf(story);
        commit(story, CHALLENGER, commitmentTo(CHALLENGER, data));
        vm.warp(block.timestamp + 12);
        commit(story, FRIEND, "later");
        reveal(story, CHALLENGER, data);
        assertOverturned(story, story.params.deposit);
    }

    /// Nor does a token that serves the friend and refuses the challenger.
    function test_challenge_whenTheTokenRefusesTheChallenger() public {
        OddToken odd = new OddToken();
        StudyParams memory params = smallParams();
        params.token = address(odd);
        odd.mint(SPONSOR, 2 ** 100);
        odd.mint(FRIEND, params.deposit);
        odd.mint(CHALLENGER, params.deposit);
        for (uint256 i = 0; i < 3; ++i) {
            odd.mint(coordinators()[i], params.bond);
        }
        Story memory story = cheat(params);
        odd.blockAccount(CHALLENGER);
        commit(story, FRIEND, "anything");
        vm.expectRevert(OddToken.OddToken_Blocked.selector);
        commit(story, CHALLENGER, "anything");
        challengeAs(story, CHALLENGER);
        assertUnpaid(story);
    }

    /// The owner of a tally can commit to its last step, and is paid though others have committed.
    function test_revealChallenge_ofATally() public {
        Story memory story = cheated();
        uint256 tally = counted(story, CHALLENGER, false);
        bytes memory data = abi.encodeCall(IChallenges.finishTally, (tally, story.closing));
        commit(story, CHALLENGER, commitmentTo(CHALLENGER, data));
        commit(story, FRIEND, "anything");
        vm.warp(block.timestamp + 12);
        reveal(story, CHALLENGER, data);
        assertOverturned(story, 2 * uint256(story.params.deposit));
    }

    /// A tally's number is known beforehand. Who commits to it and fills it only with what it reads of
    /// a reveal is refused, at whatever step of the tally it commits.
    function testFuzz_revealChallenge_notOfATallyThatIsFilledLater(
        bool totals,
        uint256 step,
        bool late
    ) public {
        Story memory story = totals ? wrongTotals() : cheated();
        step = bound(step, 0, 2);
        uint256 tally = 1;
        if (step != 0) opened(story, FRIEND, totals);
        // Also in a tally's last hours, which its limit cuts short.
        while (step != 0 && late && court.tallyOf(tally).until < court.tallyOf(tally).limit) {
            vm.warp(court.tallyOf(tally).until - 1);
            vm.prank(FRIEND);
            court.addToTally(tally, "", "", "");
        }
        if (step == 2) fill(story, FRIEND, tally, totals);
        commit(story, CHALLENGER, "the author's");
        bytes memory data = abi.encodeCall(IChallenges.finishTally, (tally, story.closing));
        commit(story, FRIEND, commitmentTo(FRIEND, data));

        vm.warp(block.timestamp + 12);
        if (step == 0) opened(story, FRIEND, totals);
        if (step != 2) {
            fill(story, FRIEND, tally, totals);
        } else {
            vm.prank(FRIEND);
            court.addToTally(tally, "", "", "");
        }
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_TallyChanged.selector, tally, block.timestamp)
        );
        reveal(story, FRIEND, data);
        vm.prank(FRIEND);
        court.finishTally(tally, story.closing);
        assertUnpaid(story);
        assertEq(ward.owed(story.id, FRIEND), story.params.deposit, "the tally's deposit alone");
    }

    /// Nor where the last step is in a batch of one.
    function test_revealChallenge_notOfATallyThatIsFilledLaterInABatch() public {
        Story memory story = cheated();
        opened(story, FRIEND, false);
        commit(story, CHALLENGER, "the author's");
        bytes[] memory calls = new bytes[](1);
        calls[0] = abi.encodeCall(IChallenges.finishTally, (1, story.closing));
        bytes memory data = abi.encodeWithSignature("multicall(bytes[])", calls);
        commit(story, FRIEND, commitmentTo(FRIEND, data));

        vm.warp(block.timestamp + 12);
        // Now it reads what the challenger reveals, and copies that into its tally.
        fill(story, FRIEND, 1, false);
        vm.prank(FRIEND);
        (bool done,) = address(court)
            .call(
                abi.encodeCall(
                    IChallenges.revealChallenge, (story.id, 1, story.closing, SALT, data)
                )
            );
        assertTrue(!done, "a copy is revealed");
        assertEq(ward.owed(story.id, FRIEND), 0, "a copy earns");
    }

    /// A copy of the commitment itself neither takes its place nor can be revealed by the copier.
    function test_commitChallenge_whenAFriendCopiesTheCommitment() public {
        Story memory story = cheated();
        bytes memory data = challengeOf(story);
        bytes32 commitment = commitmentTo(CHALLENGER, data);
        commit(story, FRIEND, commitment);
        commit(story, CHALLENGER, commitment);
        vm.warp(block.timestamp + 12);
        vm.expectRevert(
            abi.encodeWithSelector(
                ICourtBase.Court_NotCommitted.selector, commitmentTo(FRIEND, data)
            )
        );
        reveal(story, FRIEND, data);
        reveal(story, CHALLENGER, data);
        assertOverturned(story, story.params.deposit);
    }

    function testFuzz_revealChallenge_notOfAnythingElse(uint256 what, uint256 place) public {
        Story memory story = cheated();
        bytes memory data = challengeOf(story);
        commit(story, CHALLENGER, commitmentTo(CHALLENGER, data));
        vm.warp(block.timestamp + 12);
        what = bound(what, 0, 2);
        bytes32 salt = what == 0 ? bytes32("another") : SALT;
        if (what == 1) data[place % data.length] ^= 0x01;
        address caller = what == 2 ? FRIEND : CHALLENGER;
        bytes32 commitment = keccak256(abi.encode(caller, keccak256(data), salt));
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_NotCommitted.selector, commitment));
        vm.prank(caller);
        court.revealChallenge(story.id, 1, story.closing, salt, data);
    }

    /// What was committed to must overturn the round, or the deposit stays.
    function test_revealChallenge_ofWhatProvesNothing() public {
        Story memory story = honest();
        bytes memory data = challengeOf(story);
        commit(story, CHALLENGER, commitmentTo(CHALLENGER, data));
        Target memory target;
        bytes memory demand = abi.encodeCall(
            IDemands.demandChunk, (story.id, 1, story.closing, story.previous, target)
        );
        commit(story, CHALLENGER, commitmentTo(CHALLENGER, demand));
        vm.warp(block.timestamp + 12);
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_CoordinateRight.selector, 0, story.model[0])
        );
        reveal(story, CHALLENGER, data);
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NotOverturned.selector, story.id, 1)
        );
        reveal(story, CHALLENGER, demand);
        assertStands(story);
    }

    // ------------------------------------------------------------------ time

    /// In the last second of the window: the round waits until the commitment can be revealed.
    function test_commitChallenge_holdsTheRoundOnce() public {
        Story memory story = cheated();
        bytes memory data = challengeOf(story);
        bytes32 commitment = commitmentTo(CHALLENGER, data);
        vm.warp(story.closing.closedAt + story.params.challengeSeconds - 1);
        commit(story, CHALLENGER, commitment);
        uint256 until = block.timestamp + REVEAL_SECONDS;
        vm.warp(until);
        assertTrue(!ward.isFinal(story.id, 1, story.closing), "held");
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_AlreadyCommitted.selector, commitment)
        );
        commit(story, CHALLENGER, commitment);
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_TooEarly.selector, until));
        court.closeCommitment(story.id, 1, story.closing, CHALLENGER, commitment);
        vm.warp(until + 1);
        assertTrue(ward.isFinal(story.id, 1, story.closing), "no longer");
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NotChallengeable.selector, story.id, 1)
        );
        reveal(story, CHALLENGER, data);
    }

    function testFuzz_closeCommitment_paysTheAccused(address closer, uint256 late) public {
        Story memory story = honest();
        bytes memory data = challengeOf(story);
        bytes32 commitment = commitmentTo(CHALLENGER, data);
        commit(story, CHALLENGER, commitment);
        uint256 until = block.timestamp + REVEAL_SECONDS;
        vm.warp(until + bound(late, 1, 30 days));
        if (!ward.isFinal(story.id, 1, story.closing)) {
            vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_TooLate.selector, until));
            reveal(story, CHALLENGER, data);
        }
        vm.expectEmit(address(court));
        emit ICourtBase.CommitmentClosed(story.id, 1, CHALLENGER, commitment, FIRST);
        vm.prank(closer);
        court.closeCommitment(story.id, 1, story.closing, CHALLENGER, commitment);
        assertEq(ward.owed(story.id, FIRST), story.params.deposit, "delay costs its author");
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_NotCommitted.selector, commitment));
        court.closeCommitment(story.id, 1, story.closing, CHALLENGER, commitment);
    }

    function test_closeCommitment_ofARoundThatAnotherOverturned() public {
        Story memory story = cheated();
        bytes memory data = challengeOf(story);
        bytes32 second = commitmentTo(FRIEND, data);
        commit(story, CHALLENGER, commitmentTo(CHALLENGER, data));
        commit(story, FRIEND, second);
        vm.warp(block.timestamp + 12);
        reveal(story, CHALLENGER, data);
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NotChallengeable.selector, story.id, 1)
        );
        reveal(story, FRIEND, data);
        court.closeCommitment(story.id, 1, story.closing, FRIEND, second);
        assertEq(ward.owed(story.id, FRIEND), story.params.deposit, "back");
        assertEq(ward.owed(story.id, FIRST), 0, "nothing to the cheater");
    }

    /// A deposit of one study is never paid from another, nor for another round or closing.
    function testFuzz_closeCommitment_onlyOfItsStudyRoundAndClosing(uint256 what) public {
        Story memory story = honest();
        StudyParams memory params = story.params;
        params.code = keccak256("another study");
        Story memory other = begin(params, 2, 5);
        close(other);
        bytes32 commitment = commitmentTo(CHALLENGER, challengeOf(story));
        commit(story, CHALLENGER, commitment);
        vm.warp(block.timestamp + REVEAL_SECONDS + 1);
        what = bound(what, 0, 2);
        if (what == 1) ++story.closing.closedAt;
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_NotCommitted.selector, commitment));
        court.closeCommitment(
            what == 0 ? other.id : story.id,
            what == 2 ? 2 : 1,
            story.closing,
            CHALLENGER,
            commitment
        );
    }

    /// No commitment of a friend keeps data that is not shown from being proven.
    function test_closeDemand_whileAFriendHasCommitted() public {
        Story memory story = honest();
        Target memory target;
        target.what = What.Model;
        vm.prank(CHALLENGER);
        bytes32 demand = court.demandChunk(story.id, 1, story.closing, story.previous, target);
        vm.warp(block.timestamp + story.params.demandSeconds + 1);
        commit(story, FRIEND, "anything");
        court.closeDemand(demand, story.closing);
        assertOverturned(story, story.params.deposit);
    }

    // ------------------------------------------------------------------ inside

    function smallParams() internal view returns (StudyParams memory params) {
        params = sampleParams(Recording.Root);
        params.parameterCount = 8;
        params.minSites = 2;
    }

    function honest() internal returns (Story memory story) {
        story = begin(smallParams(), 2, 3);
        close(story);
    }

    function cheated() internal returns (Story memory) {
        return cheat(smallParams());
    }

    function wrongTotals() internal returns (Story memory story) {
        story = begin(smallParams(), 2, 3);
        ++story.closing.record.totalWeight;
        close(story);
    }

    function cheat(StudyParams memory params) internal returns (Story memory story) {
        story = begin(params, 2, 3);
        story.model[0] += 1;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        close(story);
    }

    /// The challenge that a reveal shows, sent as it is.
    function challengeAs(Story memory story, address caller) internal {
        bytes memory data = challengeOf(story);
        vm.prank(caller);
        (bool done,) = address(court).call(data);
        assertTrue(done, "no challenge in the open is refused");
    }

    /// A tally of all entries.
    function counted(Story memory story, address owner, bool totals)
        internal
        returns (uint256 tally)
    {
        tally = opened(story, owner, totals);
        fill(story, owner, tally, totals);
    }

    function opened(Story memory story, address owner, bool totals) internal returns (uint256) {
        TallyStart memory start;
        start.coordinate = type(uint32).max;
        if (!totals) {
            start.coordinate = 0;
            start.base = opening(bytesOf(story.base), 0);
            start.model = opening(bytesOf(story.model), 0);
        }
        vm.prank(owner);
        return court.openTally(story.id, 1, story.closing, story.previous, start);
    }

    function fill(Story memory story, address owner, uint256 tally, bool totals) internal {
        bytes memory updates = totals ? bytes("") : openings(story, 0, 0, 2);
        vm.prank(owner);
        court.addToTally(tally, packed(story.list), updates, "");
    }

    /// The round is overturned, and all of the bond burnt.
    function assertUnpaid(Story memory story) internal view {
        assertEq(ward.study(story.id).head, 1, "open again");
        assertTrue(ward.seat(story.id, FIRST).barred, "barred");
        assertEq(ward.owed(story.id, BURNT), story.params.bond, "all is burnt");
    }

    function challengeOf(Story memory story) internal pure returns (bytes memory) {
        return abi.encodeCall(
            IChallenges.challengeCoordinate,
            (
                story.id,
                1,
                story.closing,
                story.previous,
                packed(story.list),
                coordinateProof(story, 0)
            )
        );
    }

    function commitmentTo(address challenger, bytes memory data) internal pure returns (bytes32) {
        return keccak256(abi.encode(challenger, keccak256(data), SALT));
    }

    function commit(Story memory story, address challenger, bytes32 commitment) internal {
        vm.prank(challenger);
        court.commitChallenge(story.id, 1, story.closing, commitment);
    }

    function reveal(Story memory story, address challenger, bytes memory data) internal {
        vm.prank(challenger);
        court.revealChallenge(story.id, 1, story.closing, SALT, data);
    }
    // forge-lint: disable-end(unsafe-typecast)
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    Closing,
    Recording,
    Rule,
    Scoring,
    Seat,
    Site,
    StudyId,
    StudyParams,
    StudyState
} from "../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../src/interfaces/IWardRoundBase.sol";
import {Scene} from "./Scene.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// Keeps one part in a hundred of every transfer.
contract FeeToken is ERC20 {
    constructor() ERC20("Fee", "FEE") {
        _mint(msg.sender, 2 ** 120);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (from != address(0)) super._update(to, address(0xFEE), value / 100);
    }
}

contract StudyTest is Scene {
    // ------------------------------------------------------------------ createStudy

    function testFuzz_createStudy_keepsItsParameters(
        uint128 rewardPerRound,
        uint96 bond,
        uint32 rounds,
        uint16 minSites,
        uint32 updateBound,
        bytes32 initialModel,
        bool full
    ) public {
        StudyParams memory params = sampleParams(full ? Recording.Full : Recording.Root);
        params.rewardPerRound = rewardPerRound;
        params.bond = uint96(bound(bond, 1, type(uint96).max));
        params.rounds = uint32(bound(rounds, 1, type(uint32).max - 1));
        params.minSites = uint16(bound(minSites, 1, type(uint16).max));
        params.updateBound = uint32(bound(updateBound, 1, 2 ** 31 - 1));
        params.initialModel = initialModel;
        StudyId expected = StudyId.wrap(keccak256(abi.encode(params)));
        address[] memory auditors = addresses(auditorKeys(3));

        vm.expectEmit(address(ward));
        emit IWardRoundBase.StudyCreated(expected, SPONSOR, params, coordinators(), auditors);
        StudyId id = create(params);

        assertEq(StudyId.unwrap(id), StudyId.unwrap(expected), "id");
        assertEq(StudyId.unwrap(ward.studyIdOf(params)), StudyId.unwrap(expected), "studyIdOf");
        StudyState memory state = ward.study(id);
        assertEq(state.sponsor, SPONSOR, "sponsor");
        assertEq(state.token, address(token), "token");
        assertEq(state.rewardPerRound, params.rewardPerRound, "rewardPerRound");
        assertEq(state.bond, params.bond, "bond");
        assertEq(state.deposit, params.deposit, "deposit");
        assertEq(state.closingFee, params.closingFee, "closingFee");
        assertEq(state.attestingFee, params.attestingFee, "attestingFee");
        assertEq(state.rounds, params.rounds, "rounds");
        assertEq(state.minSites, params.minSites, "minSites");
        assertEq(state.challengeSeconds, params.challengeSeconds, "challengeSeconds");
        assertEq(state.objectionSeconds, params.objectionSeconds, "objectionSeconds");
        assertEq(state.roundSeconds, params.roundSeconds, "roundSeconds");
        assertEq(state.graceSeconds, params.graceSeconds, "graceSeconds");
        assertEq(state.demandSeconds, params.demandSeconds, "demandSeconds");
        assertEq(state.auditorQuorum, params.auditorQuorum, "auditorQuorum");
        assertEq(state.parameterCount, params.parameterCount, "parameterCount");
        assertEq(state.updateBound, params.updateBound, "updateBound");
        assertTrue(state.recording == params.recording, "recording");
        assertEq(state.head, 0, "not open");
        for (uint16 i = 0; i < 3; ++i) {
            assertEq(state.coordinators[i], coordinators()[i], "coordinator");
            assertEq(ward.seat(id, coordinators()[i]).place, i + 1, "place");
            assertTrue(ward.isAuditor(id, auditors[i]), "auditor");
        }
    }

    function testFuzz_createStudy_onlyBySponsor(address caller) public {
        vm.assume(caller != SPONSOR);
        StudyParams memory params = sampleParams(Recording.Full);
        StudyId id = ward.studyIdOf(params);
        address[] memory auditors = addresses(auditorKeys(3));
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotSponsor.selector, id, caller)
        );
        vm.prank(caller);
        ward.createStudy(params, coordinators(), auditors);
    }

    function test_createStudy_onlyOnce() public {
        StudyParams memory params = sampleParams(Recording.Full);
        StudyId id = create(params);
        address[] memory auditors = addresses(auditorKeys(3));
        vm.expectRevert(abi.encodeWithSelector(IWardRoundBase.WardRound_StudyExists.selector, id));
        vm.prank(SPONSOR);
        ward.createStudy(params, coordinators(), auditors);
    }

    function test_createStudy_rejectsParametersThatCannotWork() public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.rounds = 0;
        expectInvalid(params, "rounds");
        params.rounds = type(uint32).max;
        expectInvalid(params, "rounds");

        params = sampleParams(Recording.Full);
        params.minSites = 0;
        expectInvalid(params, "minSites");

        params = sampleParams(Recording.Full);
        params.token = address(0);
        expectInvalid(params, "token");

        params = sampleParams(Recording.Full);
        params.parameterCount = 0;
        expectInvalid(params, "parameterCount");

        params = sampleParams(Recording.Full);
        params.updateBound = 0;
        expectInvalid(params, "updateBound");
        params.updateBound = 2 ** 31;
        expectInvalid(params, "updateBound");

        params = sampleParams(Recording.Full);
        params.auditorQuorum = 4;
        expectInvalid(params, "auditorQuorum");

        params = sampleParams(Recording.Full);
        params.ruleArgument = 1;
        expectInvalid(params, "ruleArgument");
        params.rule = Rule.Median;
        expectInvalid(params, "ruleArgument");
        params.rule = Rule.TrimmedMean;
        params.minSites = 2;
        expectInvalid(params, "ruleArgument");
        params.minSites = 3;
        create(params);
        params.rule = Rule.MultiKrum;
        params.minSites = 2;
        expectInvalid(params, "ruleArgument");
        params.minSites = 3;
        create(params);
        params.rule = Rule.ClippedMean;
        expectInvalid(params, "ruleArgument");
        params.ruleArgument = 0;
        create(params);
    }

    /// A score is a projection on what the weighted mean has given, clipped or not.
    function test_createStudy_scoresTheWeightedMeanAlone() public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.scoring = Scoring.Projection;
        for (uint256 i = 0; i <= uint256(type(Rule).max); ++i) {
            params.rule = Rule(i);
            if (params.rule == Rule.Mean || params.rule == Rule.ClippedMean) create(params);
            else expectInvalid(params, "scoring");
        }
    }

    /// One second, or one unit, less than the least of each is refused; the least is not.
    function test_createStudy_rejectsTermsBelowTheLeast() public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.challengeSeconds = 1 hours - 1;
        expectInvalid(params, "challengeSeconds");
        params.challengeSeconds = 1 hours;
        params.objectionSeconds = 1 hours + 1;
        expectInvalid(params, "objectionSeconds");
        params.objectionSeconds = 10 minutes - 1;
        expectInvalid(params, "objectionSeconds");
        params.objectionSeconds = 10 minutes;
        params.demandSeconds = 10 minutes - 1;
        expectInvalid(params, "demandSeconds");
        params.demandSeconds = 10 minutes;
        params.roundSeconds = 11;
        expectInvalid(params, "roundSeconds");
        params.roundSeconds = 12;
        params.registrationSeconds = 12;
        params.graceSeconds = 11;
        expectInvalid(params, "graceSeconds");
        params.graceSeconds = 12;
        params.registrationSeconds = 11;
        expectInvalid(params, "registrationSeconds");
        params.registrationSeconds = 13;
        expectInvalid(params, "registrationSeconds");
        params.registrationSeconds = 12;
        params.bond = 0;
        expectInvalid(params, "bond");
        params.bond = 1;
        params.deposit = 0;
        expectInvalid(params, "deposit");
        params.deposit = 1;
        create(params);
    }

    /// No window is longer than the study may run, or its money would stay locked long after that.
    function testFuzz_createStudy_rejectsWindowsLongerThanTheStudy(uint256 which, uint32 life)
        public
    {
        StudyParams memory params = sampleParams(Recording.Full);
        params.challengeSeconds = 1 hours;
        params.objectionSeconds = 1 hours;
        params.demandSeconds = 1 hours;
        params.roundSeconds = 1 hours;
        params.graceSeconds = 1 hours;
        life = uint32(bound(life, 1 hours, type(uint32).max - 1));
        params.lifetimeSeconds = life;
        which = bound(which, 0, 3);
        if (which == 0) params.challengeSeconds = life + 1;
        if (which == 1) params.demandSeconds = life + 1;
        if (which == 2) params.roundSeconds = life + 1;
        if (which == 3) params.graceSeconds = life + 1;
        expectInvalid(params, "lifetimeSeconds");
        params.lifetimeSeconds = life + 1;
        create(params);
    }

    function test_createStudy_rejectsMissingOrDoubledPeople() public {
        StudyParams memory params = sampleParams(Recording.Full);
        address[] memory auditors = addresses(auditorKeys(3));
        address[] memory none = new address[](0);
        params.parties = partiesOf(none, auditors);
        vm.startPrank(SPONSOR);
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_ParameterInvalid.selector, "coordinators"
            )
        );
        ward.createStudy(params, none, auditors);

        address[] memory twice = coordinators();
        twice[2] = FIRST;
        params.parties = partiesOf(twice, auditors);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_CoordinatorInvalid.selector, FIRST)
        );
        ward.createStudy(params, twice, auditors);
        twice[2] = address(0);
        params.parties = partiesOf(twice, auditors);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_CoordinatorInvalid.selector, address(0))
        );
        ward.createStudy(params, twice, auditors);

        auditors[1] = auditors[0];
        params.parties = partiesOf(coordinators(), auditors);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_AuditorInvalid.selector, auditors[0])
        );
        ward.createStudy(params, coordinators(), auditors);
        vm.stopPrank();
    }

    /// The study's id names who closes and who attests: any other list, or order, is refused.
    function testFuzz_createStudy_rejectsOtherParties(uint256 place, address other) public {
        StudyParams memory params = sampleParams(Recording.Full);
        address[] memory ring = coordinators();
        address[] memory auditors = addresses(auditorKeys(3));
        place = bound(place, 0, 2);
        vm.assume(other != ring[place] && other != auditors[place]);

        (ring[0], ring[1]) = (SECOND, FIRST);
        expectPartiesDiffer(params, ring, auditors);
        ring = coordinators();
        ring[place] = other;
        expectPartiesDiffer(params, ring, auditors);
        ring = coordinators();
        auditors[place] = other;
        expectPartiesDiffer(params, ring, auditors);
        create(params);
    }

    function expectPartiesDiffer(
        StudyParams memory params,
        address[] memory ring,
        address[] memory auditors
    ) internal {
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_PartiesDiffer.selector,
                params.parties,
                partiesOf(ring, auditors)
            )
        );
        vm.prank(SPONSOR);
        ward.createStudy(params, ring, auditors);
    }

    function expectInvalid(StudyParams memory params, string memory name) internal {
        address[] memory auditors = addresses(auditorKeys(3));
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_ParameterInvalid.selector, name)
        );
        vm.prank(SPONSOR);
        ward.createStudy(params, coordinators(), auditors);
    }

    // ------------------------------------------------------------------ fund

    function testFuzz_fund_byAnyone(uint128 amount, uint128 more) public {
        StudyId id = create(sampleParams(Recording.Full));
        amount = uint128(bound(amount, 0, 2 ** 120));
        more = uint128(bound(more, 0, 2 ** 120));
        vm.expectEmit(address(ward));
        emit IWardRoundBase.Funded(id, address(this), amount);
        ward.fund(id, amount);
        vm.prank(SPONSOR);
        ward.fund(id, more);
        assertEq(ward.study(id).funded, uint256(amount) + more, "funded");
        assertEq(held(id), uint256(amount) + more, "held");
    }

    function testFuzz_fund_unknownStudy(bytes32 id) public {
        vm.expectRevert(abi.encodeWithSelector(IWardRoundBase.WardRound_StudyUnknown.selector, id));
        ward.fund(StudyId.wrap(id), 1);
    }

    function testFuzz_fund_rejectsTokensThatKeepAFee(uint128 amount) public {
        amount = uint128(bound(amount, 100, 2 ** 100));
        FeeToken fee = new FeeToken();
        fee.approve(address(ward), type(uint256).max);
        StudyParams memory params = sampleParams(Recording.Full);
        params.token = address(fee);
        StudyId id = create(params);
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_TransferInexact.selector,
                fee,
                amount,
                amount - amount / 100
            )
        );
        ward.fund(id, amount);
    }

    // ------------------------------------------------------------------ admitSite, removeSite

    function testFuzz_admitSite_keepsIt(address key, address payout, uint32 maxWeight) public {
        vm.assume(key != address(0) && payout != address(0));
        maxWeight = uint32(bound(maxWeight, 1, 2 ** 31 - 1));
        StudyId id = create(sampleParams(Recording.Full));
        vm.expectEmit(address(ward));
        emit IWardRoundBase.SiteAdmitted(id, key, payout, maxWeight, 1);
        vm.prank(SPONSOR);
        ward.admitSite(id, key, payout, maxWeight);
        Site memory admitted = ward.site(id, key);
        assertEq(admitted.payout, payout, "payout");
        assertEq(admitted.maxWeight, maxWeight, "maxWeight");
        assertEq(admitted.since, 1, "since");
        assertEq(admitted.until, type(uint32).max, "until");
        assertEq(ward.study(id).siteCount, 1, "siteCount");
    }

    function test_admitSite_rejectsWhatCannotWork() public {
        StudyId id = create(sampleParams(Recording.Full));
        address key = address(0x51);
        bytes memory invalid =
            abi.encodeWithSelector(IWardRoundBase.WardRound_SiteInvalid.selector, id, key);
        vm.startPrank(SPONSOR);
        vm.expectRevert(invalid);
        ward.admitSite(id, key, address(0), 1);
        vm.expectRevert(invalid);
        ward.admitSite(id, key, key, 0);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_SiteInvalid.selector, id, address(0))
        );
        ward.admitSite(id, address(0), key, 1);
        vm.stopPrank();
    }

    /// Whatever sites register in a round, a record can hold their total weight.
    function testFuzz_admitSite_keepsTheSumOfCapsInARound(uint32 first, uint32 second) public {
        StudyId id = create(sampleParams(Recording.Full));
        first = uint32(bound(first, 1, 2 ** 31 - 1));
        vm.startPrank(SPONSOR);
        ward.admitSite(id, address(1), address(1), first);
        uint256 sum = uint256(first) + second;
        if (second == 0 || sum < 2 ** 31) {
            second = uint32(2 ** 31 - first);
            sum = 2 ** 31;
        }
        bytes memory tooHigh =
            abi.encodeWithSelector(IWardRoundBase.WardRound_CapsTooHigh.selector, id, sum);
        vm.expectRevert(tooHigh);
        ward.admitSite(id, address(2), address(2), second);
        if (first < 2 ** 31 - 1) ward.admitSite(id, address(2), address(2), 2 ** 31 - 1 - first);
        vm.stopPrank();
    }

    /// A cap comes back only with a site that was a member of no round.
    function testFuzz_removeSite_givesItsCapBackBeforeItsFirstRound(uint256 when) public {
        StudyParams memory params = sampleParams(Recording.Root);
        when = bound(when, 0, 2);
        uint32 cap = 2 ** 31 - 1 - MAX_WEIGHT;
        StudyId id = when == 0 ? create(params) : open(params, 1);
        if (when == 2) closeRoot(id, 1, sampleRecord(1), FIRST);
        vm.startPrank(SPONSOR);
        if (when == 0) ward.admitSite(id, address(3), address(3), MAX_WEIGHT);
        ward.admitSite(id, address(1), address(1), cap);
        ward.removeSite(id, address(1));
        if (when != 0) {
            vm.expectRevert(
                abi.encodeWithSelector(
                    IWardRoundBase.WardRound_CapsTooHigh.selector, id, uint256(2 ** 31)
                )
            );
            ward.admitSite(id, address(2), address(2), 1);
            return;
        }
        ward.admitSite(id, address(2), address(2), cap);
        vm.stopPrank();
    }

    function testFuzz_sites_onlyBySponsor(address caller) public {
        vm.assume(caller != SPONSOR);
        StudyId id = create(sampleParams(Recording.Full));
        bytes memory denied =
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotSponsor.selector, id, caller);
        vm.startPrank(caller);
        vm.expectRevert(denied);
        ward.admitSite(id, address(1), address(1), 1);
        vm.expectRevert(denied);
        ward.removeSite(id, address(1));
        vm.stopPrank();
    }

    function test_removeSite_fromTheNextRoundAndForEver() public {
        StudyId id = open(sampleParams(Recording.Root), 2);
        address key = vm.addr(siteKeys(2)[0]);
        closeRoot(id, 1, sampleRecord(1), FIRST);
        vm.startPrank(SPONSOR);
        vm.expectEmit(address(ward));
        emit IWardRoundBase.SiteRemoved(id, key, 3);
        ward.removeSite(id, key);
        assertEq(ward.site(id, key).until, 3, "still a member of round 2");
        assertEq(ward.study(id).siteCount, 1, "siteCount");

        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_SiteUnknown.selector, id, key)
        );
        ward.removeSite(id, key);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_SiteExists.selector, id, key)
        );
        ward.admitSite(id, key, key, 1);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_SiteUnknown.selector, id, address(9))
        );
        ward.removeSite(id, address(9));

        ward.admitSite(id, address(9), address(9), 1);
        assertEq(ward.site(id, address(9)).since, 2, "a member of the round being worked on");
        vm.stopPrank();
    }

    // ------------------------------------------------------------------ postBond

    function testFuzz_postBond_once(uint96 bond, uint256 who) public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.bond = uint96(bound(bond, 1, 2 ** 95));
        StudyId id = create(params);
        address coordinator = coordinators()[bound(who, 0, 2)];
        vm.startPrank(coordinator);
        vm.expectEmit(address(ward));
        emit IWardRoundBase.BondPosted(id, coordinator, params.bond);
        ward.postBond(id);
        Seat memory seat = ward.seat(id, coordinator);
        assertTrue(seat.bonded, "bonded");
        assertEq(seat.bond, params.bond, "bond");
        assertEq(held(id), params.bond, "held");
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_AlreadyBonded.selector, id, coordinator)
        );
        ward.postBond(id);
        vm.stopPrank();
    }

    function testFuzz_postBond_onlyByCoordinators(address caller) public {
        StudyId id = create(sampleParams(Recording.Full));
        vm.assume(ward.seat(id, caller).place == 0);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotCoordinator.selector, id, caller)
        );
        vm.prank(caller);
        ward.postBond(id);
    }

    // ------------------------------------------------------------------ openStudy

    function testFuzz_openStudy_startsRoundOne(bytes32 initialModel, uint64 time) public {
        vm.warp(bound(time, 1, 2 ** 40));
        StudyParams memory params = sampleParams(Recording.Full);
        params.initialModel = initialModel;
        StudyId id = open(params, 3);
        (uint32 round, address coordinator, uint64 openedAt, bytes32 previous) = ward.openRound(id);
        assertEq(round, 1, "round");
        assertEq(coordinator, FIRST, "coordinator");
        assertEq(openedAt, block.timestamp, "openedAt");
        assertEq(previous, keccak256(abi.encode(beginning(params))), "round 0");
        assertEq(ward.commitment(id, 0), previous, "commitment");
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_StudyAlreadyOpen.selector, id)
        );
        vm.prank(SPONSOR);
        ward.openStudy(id);
    }

    function testFuzz_openStudy_needsMoneySitesAndBond(uint128 missing) public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.minSites = 2;
        StudyId id = create(params);
        uint128 needed = params.rewardPerRound * params.rounds;
        missing = uint128(bound(missing, 1, needed));
        vm.startPrank(SPONSOR);
        ward.fund(id, needed - missing);
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_Underfunded.selector, id, needed - missing, needed
            )
        );
        ward.openStudy(id);
        ward.fund(id, missing);

        ward.admitSite(id, address(1), address(1), 1);
        ward.admitSite(id, address(2), address(1), 1);
        ward.removeSite(id, address(2));
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_TooFewSites.selector, id, 1, 2)
        );
        ward.openStudy(id);
        ward.admitSite(id, address(3), address(1), 1);

        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotBonded.selector, id, FIRST)
        );
        ward.openStudy(id);
        vm.stopPrank();
        vm.prank(FIRST);
        ward.postBond(id);
        vm.prank(SPONSOR);
        ward.openStudy(id);
    }

    function testFuzz_openStudy_onlyBySponsor(address caller) public {
        vm.assume(caller != SPONSOR);
        StudyId id = create(sampleParams(Recording.Full));
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotSponsor.selector, id, caller)
        );
        vm.prank(caller);
        ward.openStudy(id);
    }

    function test_openRound_namesWhyThereIsNone() public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.rounds = 1;
        StudyId unknown = ward.studyIdOf(params);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_StudyUnknown.selector, unknown)
        );
        ward.openRound(unknown);
        StudyId id = open(params, 1);
        closeRoot(id, 1, sampleRecord(1), FIRST);
        vm.expectRevert(abi.encodeWithSelector(IWardRoundBase.WardRound_StudyOver.selector, id, 1));
        ward.openRound(id);
        params.rounds = 2;
        id = create(params);
        vm.expectRevert(abi.encodeWithSelector(IWardRoundBase.WardRound_StudyNotOpen.selector, id));
        ward.openRound(id);
    }
}

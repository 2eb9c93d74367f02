// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    Closing,
    Cohort,
    Paid,
    Record,
    Recording,
    Registration,
    Rule,
    Scoring,
    Seat,
    Site,
    StudyId,
    StudyParams,
    StudyState,
    Terms
} from "../interfaces/IWardRound.sol";
import {IWardRoundBase} from "../interfaces/IWardRoundBase.sol";
import {Aggregation} from "./Aggregation.sol";
import {Entry} from "./Entries.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {BitMaps} from "@openzeppelin/contracts/utils/structs/BitMaps.sol";

/// What the contract keeps of a study. The first two slots are all of it that closing a round
/// reads, and closing writes only the first.
struct Study {
    // slot 0
    address coordinator;
    uint32 head;
    uint48 openedAt;
    /// Place of the seat of who locked the open round's cohort; zero while it is not locked. The lock
    /// has the round's place among the commitments.
    uint16 lockedBy;
    // slot 1
    uint32 rounds;
    uint32 holdRound;
    uint32 challengeSeconds;
    uint32 registrationSeconds;
    uint32 siteCount;
    /// Up to this round, not all members are counted: some left in it, or it was opened again.
    uint32 uncountedThrough;
    /// How many rounds were overturned.
    uint32 attempt;
    uint16 minSites;
    Recording recording;
    bool lockedCohort;
    // slot 2: with the first two, all that finality takes
    address token;
    uint32 finalThrough;
    uint48 holdUntil;
    Scoring scoring;
    // slot 3
    address sponsor;
    uint96 bond;
    // slot 4: with slots 0 to 2, all that a payment takes
    uint128 rewardPerRound;
    uint128 paid;
    // slot 5
    uint128 attestingFee;
    uint32 parameterCount;
    uint32 demandSeconds;
    uint16 auditorQuorum;
    uint16 ruleArgument;
    Rule rule;
    // slot 6
    uint32 roundSeconds;
    uint32 graceSeconds;
    uint32 objectionSeconds;
    uint64 deadline;
    uint32 lifetimeSeconds;
    uint32 updateBound;
    // slot 7
    uint32 stalledRound;
    uint64 stalledSince;
    uint96 deposit;
    uint32 caps;
    // slot 8
    uint128 closingFee;
    uint128 refunded;
    // slot 9
    uint128 attestingFees;
    uint128 funded;
    // slots of their own
    bytes32 initialModel;
    address[] coordinators;
    mapping(address => Seat) seats;
    mapping(address => bool) auditors;
    mapping(address => Site) sites;
    mapping(address site => BitMaps.BitMap) paidRounds;
    mapping(uint32 round => Paid) payments;
    mapping(uint32 => bytes32) commitments;
    mapping(bytes32 base => mapping(address site => Registration)) registrations;
    mapping(address => uint256) owed;
    BitMaps.BitMap feePaid;
    /// How often a site's payout address has changed.
    mapping(address site => uint256) payoutChanges;
}

/// @title Studies
/// @notice How a study is laid out in storage, and the questions every entry point asks about it.
library Studies {
    using Studies for Study;

    /// Time for a person to see that a closed round is wrong, and to prove it.
    uint32 internal constant MIN_CHALLENGE_SECONDS = 1 hours;
    /// Time for a program that follows the chain to prove it.
    uint32 internal constant MIN_OBJECTION_SECONDS = 10 minutes;
    /// Time for a coordinator's program to show data, also after a restart.
    uint32 internal constant MIN_DEMAND_SECONDS = 10 minutes;
    /// A block of Ethereum: a turn lasts until its coordinator can have had one.
    uint32 internal constant MIN_TURN_SECONDS = 12;
    /// A coordinate is an int32.
    uint32 internal constant MAX_UPDATE_BOUND = 2 ** 31 - 1;

    // ------------------------------------------------------------------ beginning

    /// @notice Checks the parameters and writes them down. What nothing on chain reads, the
    /// specification and the code, is held by the study's id alone.
    function create(
        Study storage s,
        StudyParams calldata params,
        address[] calldata coordinators,
        address[] calldata auditors
    ) internal {
        checkParams(params, coordinators.length, auditors.length);
        bytes32 parties = keccak256(abi.encode(coordinators, auditors));
        if (parties != params.parties) {
            revert IWardRoundBase.WardRound_PartiesDiffer(params.parties, parties);
        }
        s.sponsor = params.sponsor;
        s.token = params.token;
        s.bond = params.bond;
        s.deposit = params.deposit;
        s.closingFee = params.closingFee;
        s.attestingFee = params.attestingFee;
        s.rewardPerRound = params.rewardPerRound;
        s.rounds = params.rounds;
        s.roundSeconds = params.roundSeconds;
        s.challengeSeconds = params.challengeSeconds;
        s.objectionSeconds = params.objectionSeconds;
        s.graceSeconds = params.graceSeconds;
        s.registrationSeconds = params.registrationSeconds;
        s.demandSeconds = params.demandSeconds;
        s.lifetimeSeconds = params.lifetimeSeconds;
        s.minSites = params.minSites;
        s.auditorQuorum = params.auditorQuorum;
        s.recording = params.recording;
        s.lockedCohort = params.lockedCohort;
        s.rule = params.rule;
        s.ruleArgument = params.ruleArgument;
        s.scoring = params.scoring;
        s.parameterCount = params.parameterCount;
        s.updateBound = params.updateBound;
        s.initialModel = params.initialModel;
        s.coordinators = coordinators;
        for (uint256 i = 0; i < coordinators.length; ++i) {
            Seat storage seat = s.seats[coordinators[i]];
            if (coordinators[i] == address(0) || seat.place != 0) {
                revert IWardRoundBase.WardRound_CoordinatorInvalid(coordinators[i]);
            }
            // checkParams bounds the number of coordinators.
            // forge-lint: disable-next-line(unsafe-typecast)
            seat.place = uint16(i + 1);
        }
        for (uint256 i = 0; i < auditors.length; ++i) {
            if (auditors[i] == address(0) || s.auditors[auditors[i]]) {
                revert IWardRoundBase.WardRound_AuditorInvalid(auditors[i]);
            }
            s.auditors[auditors[i]] = true;
        }
    }

    function checkParams(StudyParams calldata params, uint256 coordinators, uint256 auditors)
        internal
        pure
    {
        refuseIf(params.rounds == 0 || params.rounds == type(uint32).max, "rounds");
        checkWindows(params);
        refuseIf(params.bond == 0, "bond");
        // Without a deposit, a demand would overturn and a tally delay rounds for gas alone.
        refuseIf(params.deposit == 0, "deposit");
        refuseIf(params.token == address(0), "token");
        refuseIf(params.minSites == 0, "minSites");
        refuseIf(params.parameterCount == 0, "parameterCount");
        refuseIf(params.updateBound == 0 || params.updateBound > MAX_UPDATE_BOUND, "updateBound");
        refuseIf(params.auditorQuorum > auditors, "auditorQuorum");
        refuseIf(coordinators == 0 || coordinators > type(uint16).max, "coordinators");
        refuseIf(
            params.minSites < Aggregation.fewest(params.rule, params.ruleArgument), "ruleArgument"
        );
        // A score is a projection on what a weighted mean has given.
        refuseIf(
            params.scoring == Scoring.Projection && params.rule != Rule.Mean
                && params.rule != Rule.ClippedMean,
            "scoring"
        );
    }

    function checkWindows(StudyParams calldata params) internal pure {
        if (params.challengeSeconds < MIN_CHALLENGE_SECONDS) {
            revert IWardRoundBase.WardRound_ParameterInvalid("challengeSeconds");
        }
        // Behind the challenge window rounds are final without attestations.
        if (
            params.objectionSeconds < MIN_OBJECTION_SECONDS
                || params.objectionSeconds > params.challengeSeconds
        ) revert IWardRoundBase.WardRound_ParameterInvalid("objectionSeconds");
        if (params.demandSeconds < MIN_DEMAND_SECONDS) {
            revert IWardRoundBase.WardRound_ParameterInvalid("demandSeconds");
        }
        if (params.roundSeconds < MIN_TURN_SECONDS) {
            revert IWardRoundBase.WardRound_ParameterInvalid("roundSeconds");
        }
        if (params.graceSeconds < MIN_TURN_SECONDS) {
            revert IWardRoundBase.WardRound_ParameterInvalid("graceSeconds");
        }
        // Or a coordinator's turn would be over before it may close a round without some site.
        refuseIf(
            params.registrationSeconds < MIN_TURN_SECONDS
                || params.registrationSeconds > params.roundSeconds,
            "registrationSeconds"
        );
        // Or money would stay locked long after the study's deadline.
        refuseIf(
            params.lifetimeSeconds < params.challengeSeconds
                || params.lifetimeSeconds < params.demandSeconds
                || params.lifetimeSeconds < params.roundSeconds
                || params.lifetimeSeconds < params.graceSeconds,
            "lifetimeSeconds"
        );
    }

    /// @notice One place for all of the above: a revert with a text takes room.
    function refuseIf(bool wrong, string memory parameter) internal pure {
        if (wrong) revert IWardRoundBase.WardRound_ParameterInvalid(parameter);
    }

    /// @notice Makes round 1 the head, behind it a round 0 whose model is the initial one.
    function start(Study storage s) internal {
        Closing memory none;
        none.record.model = s.initialModel;
        s.commitments[0] = keccak256(abi.encode(none));
        s.head = 1;
        s.openedAt = uint48(block.timestamp);
        s.deadline = uint64(block.timestamp) + s.lifetimeSeconds;
    }

    /// @notice Moves the head, and starts the turn of the caller, who is the active coordinator.
    /// @dev Four fields fill slot 0; the last, `lockedBy`, becomes zero. Solidity would load and store it
    /// once for each.
    function advance(Study storage s, uint32 head) internal {
        assembly ("memory-safe") {
            sstore(s.slot, or(shl(192, timestamp()), or(shl(160, and(head, 0xffffffff)), caller())))
        }
    }

    // ------------------------------------------------------------------ coordinators

    /// @notice Whether a coordinator may act: it has posted its bond.
    function stands(Study storage s, address coordinator) internal view returns (bool) {
        return s.seats[coordinator].bonded;
    }

    /// @notice The next in the ring that may act; zero if none can.
    function standbyAfter(Study storage s, address coordinator) internal view returns (address) {
        uint256 seats = s.coordinators.length;
        uint256 place = s.seats[coordinator].place;
        for (uint256 i = 0; i + 1 < seats; ++i) {
            // Places count from 1, so a place is the index of the next one.
            address next = s.coordinators[(place + i) % seats];
            if (s.stands(next)) return next;
        }
        return address(0);
    }

    /// @notice When the coordinator at a distance from the active one may take over.
    function turnOf(Study storage s, uint256 distance) internal view returns (uint256) {
        return uint256(s.openedAt) + s.roundSeconds + distance * s.graceSeconds;
    }

    /// @notice Notes since when a round is open that its first coordinator has not closed.
    /// @dev Closing a round, which happens far more often, need not write it then.
    function stall(Study storage s) internal {
        if (s.stalledRound == s.head) return;
        s.stalledRound = s.head;
        s.stalledSince = s.openedAt;
    }

    /// @notice When the sponsor may end a study that closes no round: once every coordinator has
    /// missed its turn or, if they take turns, once all can have had one.
    function idleFrom(Study storage s) internal view returns (uint256 from) {
        uint256 seats = s.coordinators.length;
        from = s.turnOf(seats);
        if (s.stalledRound != s.head) return from;
        uint256 longest = uint256(s.roundSeconds) + seats * s.graceSeconds;
        return Math.min(from, s.stalledSince + seats * longest);
    }

    /// @notice Takes a coordinator's seat and bond for ever.
    function bar(Study storage s, address coordinator) internal {
        Seat storage seat = s.seats[coordinator];
        seat.bond = 0;
        seat.bonded = false;
        seat.barred = true;
    }

    // ------------------------------------------------------------------ registration

    /// @notice From when on the open round takes no registration, and can be closed without a site.
    function cutOff(Study storage s) internal view returns (uint256) {
        return uint256(s.openedAt) + s.registrationSeconds;
    }

    /// @notice A site's registration for a round on top of a closing of the round before. Those on
    /// top of one that was overturned keep their place, and their deposits.
    function registration(Study storage s, uint32 round, bytes32 previous, address site)
        internal
        view
        returns (Registration storage)
    {
        return s.registrations[keccak256(abi.encode(round, previous))][site];
    }

    /// @notice Reverts before the cut-off, unless the round has as many contributions as members.
    function checkComplete(Study storage s, StudyId id, uint256 count) internal view {
        uint256 from = s.cutOff();
        if (block.timestamp >= from) return;
        if (s.head <= s.uncountedThrough || count != s.siteCount) {
            revert IWardRoundBase.WardRound_RegistrationOpen(id, from);
        }
    }

    /// @notice Lets no round up to the open one be closed before its cut-off.
    function uncount(Study storage s) internal {
        uint32 head = s.head;
        if (s.uncountedThrough < head) s.uncountedThrough = head;
    }

    // ------------------------------------------------------------------ entries

    /// @notice Reverts unless an entry is a member's, within its weight, and signed by it.
    /// @param filling Of `Entries.template`.
    function checkEntry(
        Study storage s,
        StudyId id,
        uint32 round,
        Entry entry,
        bytes memory filling,
        bytes32 domainSeparator
    ) internal view returns (address key, uint64 weight) {
        key = entry.site();
        weight = entry.weight();
        Site storage member = s.sites[key];
        if (round < member.since || round >= member.until) {
            revert IWardRoundBase.WardRound_NotMember(id, round, key);
        }
        if (weight == 0 || weight > member.maxWeight) {
            revert IWardRoundBase.WardRound_WeightOutOfRange(key, weight, member.maxWeight);
        }
        // A key is never zero here, so a failed recovery cannot pass for it.
        address recovered = entry.signer(filling, domainSeparator);
        if (recovered != key) revert IWardRoundBase.WardRound_SignatureInvalid(key, recovered);
    }

    // ------------------------------------------------------------------ locked cohorts

    /// @notice Notes the cohort of the open round where its closing will overwrite it. The caller, who is
    /// the active coordinator, answers for it.
    function lock(Study storage s, StudyId id, uint32 round, Cohort memory cohort) internal {
        if (s.lockedBy != 0) revert IWardRoundBase.WardRound_AlreadyLocked(id, round);
        s.lockedBy = s.seats[msg.sender].place;
        s.commitments[round] = s.lockOf(cohort, msg.sender);
    }

    /// @notice Reverts unless a record has the cohort that was locked for it.
    function checkLock(Study storage s, StudyId id, uint32 round, Record calldata record)
        internal
        view
    {
        if (s.lockedBy == 0) revert IWardRoundBase.WardRound_NotLocked(id, round);
        bytes32 stored = s.commitments[round];
        Cohort memory cohort = Cohort(record.contributions, record.count, record.totalWeight);
        bytes32 given = s.lockOf(cohort, s.locker());
        if (stored != given) {
            revert IWardRoundBase.WardRound_CohortDiffers(id, round, stored, given);
        }
    }

    /// @notice Who locked the open round's cohort; zero while it is not locked.
    function locker(Study storage s) internal view returns (address) {
        uint256 place = s.lockedBy;
        return place == 0 ? address(0) : s.coordinators[place - 1];
    }

    /// @notice Commitment of a lock: a closing without a model, whose time is the attempt: a demand of a
    /// lock must not be one of the same cohort's lock in a later attempt.
    function lockOf(Study storage s, Cohort memory cohort, address coordinator)
        internal
        view
        returns (bytes32)
    {
        Closing memory closing;
        closing.record.contributions = cohort.contributions;
        closing.record.count = cohort.count;
        closing.record.totalWeight = cohort.totalWeight;
        closing.coordinator = coordinator;
        closing.closedAt = s.attempt;
        return keccak256(abi.encode(closing));
    }

    // ------------------------------------------------------------------ closed rounds

    /// @notice Reverts unless a closing is the one committed to.
    function checkCommitment(Study storage s, StudyId id, uint32 round, Closing calldata closing)
        internal
        view
        returns (bytes32 stored)
    {
        stored = s.commitments[round];
        bytes32 given = keccak256(abi.encode(closing));
        if (stored != given) {
            revert IWardRoundBase.WardRound_CommitmentDiffers(id, round, stored, given);
        }
    }

    /// @notice Whether a round is final. If one is, all before it are.
    /// @dev The caller has checked that `closedAt` is what the round was committed to with.
    function isFinal(Study storage s, uint32 round, uint64 closedAt) internal view returns (bool) {
        if (round >= s.head) return false;
        if (round <= s.finalThrough) return true;
        uint256 window = s.challengeSeconds;
        uint256 until = uint256(closedAt) + window;
        if (block.timestamp < until) return false;
        if (round < s.holdRound || block.timestamp >= s.holdUntil) return true;
        // The longest that honest steps can take: an entry is demanded, then its update, then a
        // tally counts. Nothing holds a round for longer, so it always becomes final.
        return block.timestamp >= until + 3 * window + 2 * uint256(s.demandSeconds);
    }

    /// @notice Whether a closing, or the open round's lock, is valid and not yet final. There is nothing
    /// to hold against round 0.
    function isChallengeable(Study storage s, uint32 round, bytes32 commitment, uint64 closedAt)
        internal
        view
        returns (bool)
    {
        if (round == 0 || s.commitments[round] != commitment) return false;
        if (round < s.head) return !s.isFinal(round, closedAt);
        return round == s.head && s.lockedBy != 0;
    }

    /// @notice Holds rounds open, together with what is held already.
    function hold(Study storage s, uint32 round, uint64 until) internal {
        bool held = block.timestamp < s.holdUntil;
        if (!held || round < s.holdRound) s.holdRound = round;
        // A time, far below 2**48.
        // forge-lint: disable-next-line(unsafe-typecast)
        if (!held || until > s.holdUntil) s.holdUntil = uint48(until);
    }

    /// @notice Goes back to a round, under the next bonded coordinator if its own is barred, and leaves
    /// all that are bonded time for their turns before any account may end the study.
    /// @dev The end is not postponed for ever: a coordinator loses its seat when the first of its
    /// rounds is overturned, and what it has closed is final or gone 4 * challengeSeconds +
    /// 2 * demandSeconds later. What it has locked ends with the study. Any account ends that once the
    /// turns are over, so each seat postpones its end by no more than that and the turns.
    function reopen(Study storage s, uint32 round) internal {
        if (s.seats[s.coordinator].barred) s.coordinator = s.standbyAfter(s.coordinator);
        // Sites were admitted and removed since.
        s.uncount();
        s.head = round;
        s.openedAt = uint48(block.timestamp);
        s.stalledRound = 0;
        // What was locked is, or is built on, what was proven wrong.
        ++s.attempt;
        s.lockedBy = 0;
        // A time, far below 2**64.
        // forge-lint: disable-next-line(unsafe-typecast)
        uint64 turns = uint64(s.turnOf(s.coordinators.length));
        if (s.deadline < turns) s.deadline = turns;
        // What was to be found out about rounds that are gone keeps no new ones waiting.
        if (s.holdRound >= round) s.holdUntil = 0;
    }

    function checkFinal(Study storage s, StudyId id, uint32 round, Closing calldata closing)
        internal
        view
    {
        checkCommitment(s, id, round, closing);
        if (!isFinal(s, round, closing.closedAt)) {
            revert IWardRoundBase.WardRound_NotFinal(id, round);
        }
    }

    /// @notice Reverts unless the last round has been closed and is final.
    function checkOver(Study storage s, StudyId id, Closing calldata closing) internal view {
        uint32 last = s.rounds;
        if (s.head != last + 1) revert IWardRoundBase.WardRound_NotFinal(id, last);
        checkFinal(s, id, last, closing);
    }

    // ------------------------------------------------------------------ fees

    /// @notice What all rounds together can pay to sites, coordinators and auditors.
    function budget(Study storage s) internal view returns (uint256) {
        return (uint256(s.rewardPerRound) + s.closingFee + s.attestingFee) * s.rounds;
    }

    /// @notice What the rounds of a study that is over pay, whether it was claimed or not.
    function earnings(Study storage s) internal view returns (uint256) {
        return (uint256(s.rewardPerRound) + s.closingFee) * s.rounds + s.attestingFees;
    }

    /// @notice Shares out the fees of the rounds that an attestation makes final.
    /// @return share Of each signer.
    function shareAttestingFee(Study storage s, uint32 round, uint256 signers)
        internal
        returns (uint256 share)
    {
        uint256 fee = s.attestingFee;
        if (fee == 0) return 0;
        share = fee * (round - s.finalThrough) / signers;
        // A part of the budget, which `funded` covers, in 128 bits.
        // forge-lint: disable-next-line(unsafe-typecast)
        s.attestingFees += uint128(share * signers);
    }

    // ------------------------------------------------------------------ view

    function state(Study storage s) internal view returns (StudyState memory) {
        return StudyState({
            sponsor: s.sponsor,
            token: s.token,
            coordinator: s.coordinator,
            head: s.head,
            openedAt: s.openedAt,
            finalThrough: s.finalThrough,
            rounds: s.rounds,
            siteCount: s.siteCount,
            minSites: s.minSites,
            auditorQuorum: s.auditorQuorum,
            recording: s.recording,
            lockedCohort: s.lockedCohort,
            attempt: s.attempt,
            lockedBy: s.locker(),
            rule: s.rule,
            ruleArgument: s.ruleArgument,
            scoring: s.scoring,
            parameterCount: s.parameterCount,
            updateBound: s.updateBound,
            challengeSeconds: s.challengeSeconds,
            objectionSeconds: s.objectionSeconds,
            roundSeconds: s.roundSeconds,
            graceSeconds: s.graceSeconds,
            demandSeconds: s.demandSeconds,
            holdRound: s.holdRound,
            holdUntil: s.holdUntil,
            deadline: s.deadline,
            bond: s.bond,
            deposit: s.deposit,
            closingFee: s.closingFee,
            attestingFee: s.attestingFee,
            rewardPerRound: s.rewardPerRound,
            funded: s.funded,
            paid: s.paid,
            refunded: s.refunded,
            coordinators: s.coordinators
        });
    }

    function terms(Study storage s) internal view returns (Terms memory) {
        return Terms({
            token: s.token,
            coordinator: s.coordinator,
            head: s.head,
            rounds: s.rounds,
            deposit: s.deposit,
            challengeSeconds: s.challengeSeconds,
            demandSeconds: s.demandSeconds,
            parameterCount: s.parameterCount,
            updateBound: s.updateBound,
            recording: s.recording,
            rule: s.rule,
            ruleArgument: s.ruleArgument,
            scoring: s.scoring,
            locked: s.lockedBy != 0
        });
    }
}

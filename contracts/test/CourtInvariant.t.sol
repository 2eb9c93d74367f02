// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "../src/interfaces/IChallenges.sol";
import {
    Demand,
    DemandStatus,
    Standing,
    TallyStart,
    Target,
    What
} from "../src/interfaces/ICourt.sol";
import {IRegistrations} from "../src/interfaces/IRegistrations.sol";
import {
    Closing,
    Cohort,
    Earning,
    Recording,
    StudyId,
    StudyParams,
    StudyState
} from "../src/interfaces/IWardRound.sol";
import {CourtScene} from "./CourtScene.sol";

/// Lives through whole histories of a study in which two of the three coordinators cheat when they
/// like, and anybody challenges anything: SECOND is honest, and answers every demand in time.
contract CourtHandler is CourtScene {
    // Every narrowed number was bounded above.
    // forge-lint: disable-start(unsafe-typecast)

    uint256 internal constant SITES = 3;
    address internal constant BURNT = 0x000000000000000000000000000000000000dEaD;
    /// Brings the sites' registrations.
    address internal constant STRANGER = address(0x57A);

    enum Cheat {
        None,
        Coordinate,
        Entry,
        Totals,
        Omission,
        Withheld
    }

    StudyParams internal params;
    StudyId public id;
    /// Rounds as they were last closed, abi-encoded, and what is wrong with them.
    mapping(uint32 round => bytes) internal _stories;
    mapping(uint32 round => Cheat) public cheats;
    mapping(uint32 round => bytes32) public finalCommitments;
    mapping(uint32 round => address) internal _omitted;

    /// A commitment to a challenge, with the encoded closing that it accuses.
    struct Sealed {
        uint32 round;
        address challenger;
        bytes32 commitment;
        bytes closing;
    }

    /// A registration, on top of a closing of the round before.
    struct Sent {
        uint32 round;
        bytes32 previous;
        address site;
    }

    bytes32[] internal _demands;
    /// Encoded closings.
    mapping(bytes32 demand => bytes) internal _accused;
    mapping(bytes32 demand => bytes) internal _answers;
    uint256[] internal _tallies;
    Sealed[] internal _sealed;
    mapping(uint256 tally => uint32) internal _tallyRound;
    /// Demands to sites whose payment is neither earned nor returned.
    uint256 internal _asked;
    /// Registrations whose deposit was not credited.
    uint256 internal _unsettled;
    Sent[] internal _registered;

    uint256 public closes;
    uint256 public voided;
    uint256 public posted;
    uint256 public released;
    uint256 public deposited;
    uint256 public collected;
    /// How often each way of ending a round was seen, so that no run is about nothing.
    uint256 public overturned;
    string[] public wrongs;

    /// @param locks Whether cohorts are locked.
    constructor(bool locks) {
        setUp();
        params = sampleParams(Recording.Root);
        params.lockedCohort = locks;
        params.rounds = 6;
        params.parameterCount = 2;
        params.challengeSeconds = 1 days;
        params.demandSeconds = 12 hours;
        params.bond = 50 ether + 1;
        params.initialModel = vectorRoot(bytesOf(baseModel(2, 1)));
        id = open(params, SITES);
        posted = 3 * uint256(params.bond);
        Story memory genesis;
        genesis.params = params;
        genesis.id = id;
        genesis.model = baseModel(2, 1);
        genesis.closing = beginning(params);
        _stories[0] = abi.encode(genesis);
        token.approve(address(ward), type(uint256).max);
        // forge-lint: disable-next-line(erc20-unchecked-transfer)
        token.transfer(STRANGER, 2 ** 100);
        approve(STRANGER);
    }

    // ------------------------------------------------------------------ what may be done

    function wait(uint256 time) external {
        // Never beyond a deadline that an honest coordinator has to answer by.
        answerForTheHonest();
        vm.warp(block.timestamp + bound(time, 1, 11 hours));
        noteFinality();
    }

    /// Where the study wants that, a round is locked first.
    function close(uint256 seed) external {
        StudyState memory s = ward.study(id);
        if (s.head > s.rounds || s.coordinator == address(0)) return;
        if (s.lockedBy != address(0)) {
            closeLocked(s, seed);
        } else {
            (Story memory story, Cheat cheat) = composed(s, seed);
            if (params.lockedCohort) {
                lock(story, s);
            } else {
                noteEarlyClosing(story, s);
                close(story, s.coordinator);
                ++closes;
            }
            _stories[s.head] = abi.encode(story);
            cheats[s.head] = cheat;
        }
        noteFinality();
    }

    function register(uint256 who) external {
        StudyState memory s = ward.study(id);
        if (s.head > s.rounds) return;
        Story memory story = nextStory(s.head);
        Draft memory draft = story.list[who % SITES];
        bytes memory entry = packed(draft);
        vm.prank(STRANGER);
        try ward.contribute(id, s.head, story.previous, entry) {
            deposited += params.deposit;
            ++_unsettled;
            _registered.push(Sent(s.head, behind(story), draft.site));
            if (block.timestamp >= s.openedAt + REGISTRATION_SECONDS) {
                wrongs.push("a site was registered behind the cut-off");
            }
        } catch {}
    }

    function demandContribution(uint256 who) external {
        StudyState memory s = ward.study(id);
        address site = addresses(siteKeys(SITES))[who % SITES];
        vm.prank(s.coordinator);
        // An update has one chunk here, which takes a whole deposit.
        try court.demandContribution(id, s.head, site, 0, 1) {
            deposited += params.deposit;
            ++_asked;
        } catch {}
    }

    function closeContribution(uint256 which) external {
        if (_registered.length == 0) return;
        Sent memory sent = _registered[which % _registered.length];
        Standing memory stands = court.standing(id, sent.round, sent.previous, sent.site);
        uint256 before = ward.owed(id, STRANGER) + ward.owed(id, stands.payer);
        Story memory story;
        // Of a round that was never closed, no closing is looked at.
        if (_stories[sent.round].length != 0) story = abi.decode(_stories[sent.round], (Story));
        bool returned = stands.demanded == stands.shown;
        bool pending = isPending(sent);
        try court.closeContribution(id, sent.round, story.closing, sent.previous, sent.site) {
            if (returned && pending) wrongs.push("a deposit came back before its round was final");
            uint256 amount = stands.settled ? 0 : params.deposit;
            if (stands.demanded != stands.shown) {
                amount += params.deposit;
                --_asked;
            }
            if (!stands.settled) --_unsettled;
            uint256 owed = ward.owed(id, STRANGER) + ward.owed(id, stands.payer);
            if (owed != before + amount || amount == 0) {
                wrongs.push("a registration's deposit went elsewhere");
            }
        } catch {}
    }

    function answerContribution(uint256 who) external {
        StudyState memory s = ward.study(id);
        if (s.head > s.rounds) return;
        Story memory story = nextStory(s.head);
        who %= SITES;
        Shown memory shown = shownOf(bytesOf(story.updates[who]), 0, 1);
        bytes memory entry = packed(story.list[who]);
        try court.answerContribution(id, s.head, behind(story), entry, 0, shown.data, shown.path) {
            --_asked;
        } catch {}
    }

    /// Anyone shows that a registered update leads out of bounds.
    function refuseContribution(uint256 who, uint32 coordinate) external {
        StudyState memory s = ward.study(id);
        if (s.head > s.rounds) return;
        Story memory story = nextStory(s.head);
        who %= SITES;
        coordinate %= 2;
        Standing memory stands = standingOf(story, story.list[who].site);
        bytes memory entry = packed(story.list[who]);
        bytes memory update = opening(bytesOf(story.updates[who]), 0);
        bytes memory base = opening(bytesOf(story.base), 0);
        int256 change = story.updates[who][coordinate];
        vm.prank(CHALLENGER);
        try court.refuseContribution(id, s.head, story.previous, entry, coordinate, update, base) {
            if (!stands.settled) --_unsettled;
            bool within = change >= -int256(uint256(params.updateBound))
                && change <= int256(uint256(params.updateBound));
            if (within) wrongs.push("an update within the bound was refused");
        } catch {}
    }

    /// A challenge that fits what is wrong succeeds as long as the round is not final, however late
    /// and whatever happened before; any other fails.
    function challenge(uint256 which, uint256 kind) external {
        Story memory story = anyClosed(which);
        if (story.round == 0) return;
        Cheat cheat = cheats[story.round];
        // Half the time what fits, so that histories hold many verdicts.
        Cheat tried = kind % 2 == 0 ? cheat : Cheat(kind % 5);
        if (tried == Cheat.None || tried == Cheat.Withheld) return;
        bool openYet = ward.challengeable(
            id, story.round, keccak256(abi.encode(story.closing)), story.closing.closedAt
        );
        uint32 head = ward.study(id).head;
        bool done = tryChallenge(story, tried);
        noteVerdict(story.round, head, done);
        if (done && (cheat == Cheat.None || cheat == Cheat.Withheld)) {
            wrongs.push("an honest round was overturned");
        }
        if (done && !openYet) wrongs.push("a final round was overturned");
        // What is refused since need not be included.
        bool excused = cheat == Cheat.Omission && dutyTo(story.round, _omitted[story.round]) != 2;
        if (!done && openYet && tried == cheat && !excused) wrongs.push("a cheat got away");
        noteFinality();
    }

    function demand(uint256 which, uint256 what) external {
        Story memory story = anyClosed(which);
        if (story.round == 0) return;
        Target memory target = Target(What(what % 4), 0, 0, "", new bytes32[](0));
        bytes memory answer = opening(bytesOf(story.model), 0);
        if (target.what == What.Base) answer = opening(bytesOf(story.base), 0);
        if (target.what == What.Entry) {
            answer = abi.encodePacked(packed(story.list[0]), entryPath(story, 0));
        }
        if (target.what == What.Update) {
            (target.entry, target.path) = (packed(story.list[0]), entryPath(story, 0));
            answer = opening(bytesOf(story.updates[0]), 0);
        }
        vm.prank(CHALLENGER);
        try court.demandChunk(id, story.round, story.closing, story.previous, target) returns (
            bytes32 made
        ) {
            if (_answers[made].length == 0) _demands.push(made);
            deposited += court.demandOf(made).deposit;
            _accused[made] = abi.encode(story.closing);
            _answers[made] = answer;
        } catch {}
    }

    function closeDemand(uint256 which) external {
        if (_demands.length == 0) return;
        bytes32 made = _demands[which % _demands.length];
        Closing memory closing = abi.decode(_accused[made], (Closing));
        Demand memory d = court.demandOf(made);
        bool openYet = ward.challengeable(id, d.round, d.commitment, closing.closedAt);
        uint32 head = ward.study(id).head;
        try court.closeDemand(made, closing) {
            if (block.timestamp <= d.deadline && openYet) {
                wrongs.push("closed before its deadline");
            }
            noteVerdict(d.round, head, openYet);
            if (openYet && closing.coordinator == SECOND) {
                wrongs.push("who answers was overturned");
            }
        } catch {}
        noteFinality();
    }

    function tally(uint256 which, uint256 coordinate) external {
        Story memory story = anyClosed(which);
        if (story.round == 0) return;
        TallyStart memory start;
        start.coordinate = coordinate % 2 == 0 ? 0 : type(uint32).max;
        if (start.coordinate == 0) {
            start.base = opening(bytesOf(story.base), 0);
            start.model = opening(bytesOf(story.model), 0);
        }
        vm.prank(CHALLENGER);
        try court.openTally(id, story.round, story.closing, story.previous, start) returns (
            uint256 made
        ) {
            _tallies.push(made);
            deposited += params.deposit;
            _tallyRound[made] = story.round;
        } catch {}
    }

    function stepTally(uint256 which, bool finish) external {
        if (_tallies.length == 0) return;
        uint256 made = _tallies[which % _tallies.length];
        uint32 round = _tallyRound[made];
        Story memory story = abi.decode(_stories[round], (Story));
        bool wasFinal = finalCommitments[round] != 0;
        uint32 head = ward.study(id).head;
        vm.startPrank(CHALLENGER);
        if (!finish) {
            bool counts = court.tallyOf(made).coordinate == 0;
            bytes memory updates = counts ? openings(story, 0, 0, story.list.length) : bytes("");
            try court.addToTally(made, packed(story.list), updates, "") {} catch {}
        } else {
            try court.finishTally(made, story.closing) {
                if (wasFinal) wrongs.push("a final round was overturned");
                Cheat cheat = cheats[round];
                if (cheat != Cheat.Coordinate && cheat != Cheat.Totals) {
                    wrongs.push("a tally overturned what it does not prove");
                }
                noteVerdict(round, head, true);
            } catch {}
        }
        vm.stopPrank();
        noteFinality();
    }

    /// A stranger commits to nothing, to make others wait.
    function commit(uint256 which) external {
        Story memory story = anyClosed(which);
        if (story.round == 0) return;
        commitAs(address(this), story, bytes32(_sealed.length));
        noteFinality();
    }

    function closeCommitment(uint256 which) external {
        if (_sealed.length == 0) return;
        Sealed memory made = _sealed[which % _sealed.length];
        Closing memory closing = abi.decode(made.closing, (Closing));
        try court.closeCommitment(id, made.round, closing, made.challenger, made.commitment) {}
            catch {}
    }

    function closeTally(uint256 which) external {
        if (_tallies.length == 0) return;
        uint256 made = _tallies[which % _tallies.length];
        Story memory story = abi.decode(_stories[_tallyRound[made]], (Story));
        try court.closeTally(made, story.closing) {} catch {}
    }

    function takeOver(uint256 who) external {
        vm.prank(coordinators()[who % 3]);
        try ward.takeOver(id) {} catch {}
    }

    /// Auditors replay: they attest to no round that is wrong, nor to one built on such.
    function attest(uint256 which) external {
        Story memory story = anyClosed(which);
        for (uint32 round = 1; round <= story.round; ++round) {
            if (cheats[round] != Cheat.None) return;
        }
        if (story.round == 0) return;
        bytes32 stored = keccak256(abi.encode(story.closing));
        try ward.attest(id, story.round, story.closing, attestations(id, story.round, stored, 2)) {}
            catch {}
        noteFinality();
    }

    function collect(uint256 who) external {
        address account = [CHALLENGER, BURNT, address(this), STRANGER][who % 4];
        uint256 amount = ward.owed(id, account);
        try ward.collect(id, account) {
            collected += amount;
        } catch {}
    }

    function claim(uint256 which, uint256 who) external {
        Story memory story = anyClosed(which);
        if (story.round == 0) return;
        who %= story.list.length;
        address site = story.list[who].site;
        Earning[] memory earnings = only(earningOf(story.round, story.closing, story.list, who));
        bool settled = ward.isFinal(id, story.round, story.closing);
        bool paid = ward.isPaid(id, story.round, site);
        try ward.claim(id, site, earnings) {
            if (!settled) wrongs.push("a share was paid before its round was final");
            if (paid) wrongs.push("a share was paid twice");
        } catch {
            if (settled && !paid) wrongs.push("a final round did not pay what it has earned");
        }
    }

    function releaseBond(uint256 who) external {
        address caller = coordinators()[who % 3];
        uint256 bond = ward.seat(id, caller).bond;
        Story memory last = abi.decode(_stories[0], (Story));
        uint32 rounds = ward.study(id).rounds;
        if (_stories[rounds].length != 0) last = abi.decode(_stories[rounds], (Story));
        vm.prank(caller);
        try ward.releaseBond(id, last.closing) {
            released += bond;
        } catch {}
    }

    // ------------------------------------------------------------------ inside

    /// What a coordinator makes of the open round.
    function composed(StudyState memory s, uint256 seed)
        internal
        returns (Story memory story, Cheat cheat)
    {
        story = nextStory(s.head);
        cheat = s.coordinator == SECOND ? Cheat.None : Cheat(seed % 6);
        // A lock has no model.
        if (params.lockedCohort && cheat == Cheat.Coordinate) cheat = Cheat.None;
        _omitted[s.head] = address(0);
        // An honest coordinator leaves out who did not register, or whose data nobody shows.
        for (uint256 i = SITES; i > 0 && story.list.length > 1; --i) {
            address site = story.list[i - 1].site;
            uint8 duty = dutyTo(s.head, site);
            if (duty == 0 && seed >> i & 1 == 1) story = without(story, i - 1);
            if (duty == 2 && cheat == Cheat.Omission && _omitted[s.head] == address(0)) {
                _omitted[s.head] = site;
                story = without(story, i - 1);
            }
        }
        if (cheat == Cheat.Omission && _omitted[s.head] == address(0)) cheat = Cheat.None;
        if (cheat == Cheat.Coordinate) {
            story.model[0] ^= 1;
            story.closing.record.model = vectorRoot(bytesOf(story.model));
        }
        if (cheat == Cheat.Entry) {
            story.list[0].signature[3] ^= 0x01;
            recommit(story);
        }
        if (cheat == Cheat.Totals) ++story.closing.record.totalWeight;
    }

    function lock(Story memory story, StudyState memory s) internal {
        Cohort memory cohort = cohortOf(story.closing.record);
        reachCutOff(id);
        lock(id, s.head, params, cohort, story.previous, story.list, s.coordinator);
        story.closing = lockOf(cohort, s.coordinator, s.attempt);
    }

    /// An honest coordinator that takes over closes nothing with a lock that is wrong, or lacks data.
    function closeLocked(StudyState memory s, uint256 seed) internal {
        Story memory story = abi.decode(_stories[s.head], (Story));
        Cheat cheat = cheats[s.head];
        if (s.coordinator == SECOND && cheat != Cheat.None) return;
        if (s.coordinator != SECOND && cheat == Cheat.None) {
            cheat = [Cheat.None, Cheat.Coordinate, Cheat.Withheld][seed % 3];
        }
        if (cheat == Cheat.Coordinate) story.model[0] ^= 1;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        story.closing.record.manifest = keccak256(abi.encode(seed));
        vm.prank(s.coordinator);
        ward.closeRoundRoot(id, s.head, story.closing.record);
        (story.closing.coordinator, story.closing.closedAt) =
        (s.coordinator, uint64(block.timestamp));
        _stories[s.head] = abi.encode(story);
        cheats[s.head] = cheat;
        ++closes;
    }

    /// Whether a registration's round is open, or may open again on the same base.
    function isPending(Sent memory sent) internal view returns (bool) {
        if (ward.study(id).head < sent.round) return false;
        return
            ward.commitment(id, sent.round - 1) == sent.previous
                && finalCommitments[sent.round] == 0;
    }

    /// The honest story of the round to come: the same sites and updates for one base, always.
    function nextStory(uint32 head) internal view returns (Story memory) {
        Story memory behind = abi.decode(_stories[head - 1], (Story));
        return following(behind, SITES, uint256(keccak256(abi.encode(head))));
    }

    /// 2: a site must be included; 1: its data was asked for; 0: not.
    function dutyTo(uint32 round, address site) internal view returns (uint8) {
        bytes32 previous = ward.commitment(id, round - 1);
        if (ward.registration(id, round, previous, site).registeredAt == 0) return 0;
        Standing memory stands = court.standing(id, round, previous, site);
        if (stands.refused) return 0;
        if (stands.demanded != stands.shown) return block.timestamp > stands.deadline ? 0 : 1;
        return 2;
    }

    /// Before the cut-off no round is closed that leaves a site out.
    function noteEarlyClosing(Story memory story, StudyState memory s) internal {
        bool early = block.timestamp < s.openedAt + REGISTRATION_SECONDS;
        if (!early || story.closing.record.count >= SITES) return;
        vm.prank(s.coordinator);
        try ward.closeRoundRoot(id, s.head, story.closing.record) {
            wrongs.push("a round was closed before its cut-off without a site");
        } catch {}
    }

    function anyClosed(uint256 which) internal view returns (Story memory story) {
        uint32 last = lastAccused();
        if (last == 0) return story;
        return abi.decode(_stories[uint32(1 + which % last)], (Story));
    }

    /// The last round that is closed or locked.
    function lastAccused() internal view returns (uint32) {
        StudyState memory s = ward.study(id);
        return s.lockedBy == address(0) ? s.head - 1 : s.head;
    }

    function tryChallenge(Story memory story, Cheat cheat) internal returns (bool done) {
        bytes memory entries = packed(story.list);
        bytes memory call;
        if (cheat == Cheat.Coordinate) {
            call = abi.encodeCall(
                IChallenges.challengeCoordinate,
                (id, story.round, story.closing, story.previous, entries, coordinateProof(story, 0))
            );
        } else if (cheat == Cheat.Entry) {
            call = abi.encodeCall(
                IChallenges.challengeEntry,
                (
                    id,
                    story.round,
                    story.closing,
                    story.previous,
                    packed(story.list[0]),
                    0,
                    entryPath(story, 0)
                )
            );
        } else if (cheat == Cheat.Totals) {
            call = abi.encodeCall(
                IChallenges.challengeTotals, (id, story.round, story.closing, entries)
            );
        } else {
            call = omissionCall(story);
        }
        uint256 bond = ward.seat(id, story.closing.coordinator).bond;
        uint256 before = ward.owed(id, CHALLENGER);
        if (story.closing.closedAt % 2 == 0) {
            bool reserved = isReserved(story);
            vm.prank(CHALLENGER);
            (done,) = address(court).call(call);
            uint256 reward = reserved ? 0 : bond / 2;
            if (done && ward.owed(id, CHALLENGER) != before + reward) {
                wrongs.push("a proof in the open was not paid as commitments allow");
            }
            return done;
        }
        // Who commits is paid, whatever strangers have committed to.
        bytes32 salt = bytes32(_sealed.length);
        bytes32 commitment = keccak256(abi.encode(CHALLENGER, keccak256(call), salt));
        commitAs(CHALLENGER, story, commitment);
        answerForTheHonest();
        vm.warp(block.timestamp + 1);
        vm.prank(CHALLENGER);
        try court.revealChallenge(id, story.round, story.closing, salt, call) {
            done = true;
            if (ward.owed(id, CHALLENGER) != before + bond / 2 + params.deposit) {
                wrongs.push("a proof that was committed to was not paid");
            }
        } catch {}
    }

    /// Whether a commitment to a challenge of a closing is open.
    function isReserved(Story memory story) internal view returns (bool) {
        bytes32 closed = keccak256(abi.encode(story.closing));
        for (uint256 i = 0; i < _sealed.length; ++i) {
            Sealed memory made = _sealed[i];
            if (keccak256(made.closing) != closed) continue;
            uint64 until =
                court.commitmentOf(id, made.round, closed, made.challenger, made.commitment).until;
            if (block.timestamp <= until) return true;
        }
        return false;
    }

    function commitAs(address challenger, Story memory story, bytes32 commitment) internal {
        vm.prank(challenger);
        try court.commitChallenge(id, story.round, story.closing, commitment) {
            deposited += params.deposit;
            _sealed.push(Sealed(story.round, challenger, commitment, abi.encode(story.closing)));
        } catch {}
    }

    /// Of who was left out, or of any site that has no entry.
    function omissionCall(Story memory story) internal view returns (bytes memory) {
        address site = _omitted[story.round];
        if (site == address(0)) site = addresses(siteKeys(SITES))[story.closing.closedAt % SITES];
        uint256 place;
        while (place < story.list.length && story.list[place].site < site) ++place;
        bool last = place == story.list.length;
        bytes32[] memory none = new bytes32[](0);
        return abi.encodeCall(
            IRegistrations.challengeOmission,
            (
                id,
                story.round,
                story.closing,
                site,
                uint32(place),
                place == 0 ? bytes("") : packed(story.list[place - 1]),
                last ? bytes("") : packed(story.list[place]),
                place == 0 ? none : entryPath(story, place - 1),
                last ? none : entryPath(story, place)
            )
        );
    }

    function noteVerdict(uint32 round, uint32 head, bool done) internal {
        if (!done) return;
        ++overturned;
        voided += head - round;
    }

    /// Whoever is honest shows what is demanded; who withholds does not.
    function answerForTheHonest() internal {
        for (uint256 i = 0; i < _demands.length; ++i) {
            Demand memory d = court.demandOf(_demands[i]);
            if (d.status != DemandStatus.Open || cheats[d.round] == Cheat.Withheld) continue;
            Closing memory closing = abi.decode(_accused[_demands[i]], (Closing));
            try court.answerDemand(_demands[i], closing, _answers[_demands[i]]) {}
            catch {
                // Of a round that is gone, nobody has to show anything.
                if (ward.commitment(id, d.round) == d.commitment && d.round <= lastAccused()) {
                    wrongs.push("an honest answer was refused");
                }
            }
        }
    }

    function noteFinality() internal {
        uint32 head = ward.study(id).head;
        for (uint32 round = 1; round < head; ++round) {
            Story memory story = abi.decode(_stories[round], (Story));
            bool settled = ward.isFinal(id, round, story.closing);
            bytes32 noted = finalCommitments[round];
            bytes32 stored = ward.commitment(id, round);
            if (settled && noted == 0) finalCommitments[round] = stored;
            if (noted != 0 && (!settled || noted != stored)) {
                wrongs.push("a final round did not stay as it was");
            }
        }
    }

    // ------------------------------------------------------------------ what is known

    function check() external view {
        if (wrongs.length != 0) assertTrue(false, wrongs[0]);
        StudyState memory s = ward.study(id);
        uint256 bonds;
        for (uint256 i = 0; i < 3; ++i) {
            bonds += ward.seat(id, coordinators()[i]).bond;
        }
        uint256 owed = ward.owed(id, CHALLENGER) + ward.owed(id, BURNT);
        owed += ward.owed(id, address(this));
        for (uint256 i = 0; i < 3; ++i) {
            owed += ward.owed(id, coordinators()[i]);
        }
        owed += (_asked + _unsettled) * params.deposit + ward.owed(id, STRANGER);
        for (uint256 i = 0; i < _tallies.length; ++i) {
            if (court.tallyOf(_tallies[i]).owner != address(0)) owed += params.deposit;
        }
        for (uint256 i = 0; i < _sealed.length; ++i) {
            Sealed memory made = _sealed[i];
            bytes32 closed = keccak256(made.closing);
            if (court.commitmentOf(id, made.round, closed, made.challenger, made.commitment).open) {
                owed += params.deposit;
            }
        }
        for (uint256 i = 0; i < _demands.length; ++i) {
            Demand memory d = court.demandOf(_demands[i]);
            if (d.status == DemandStatus.Open) owed += d.deposit;
        }
        assertEq(
            posted + deposited, released + bonds + owed + collected, "deposits come out, once each"
        );
        assertEq(
            held(id),
            uint256(s.funded) - s.paid - s.refunded + bonds + owed,
            "the escrow holds what its study owes"
        );
        assertEq(closes - voided, s.head - 1, "one close a round");
        assertTrue(!ward.seat(id, SECOND).barred, "the honest is never barred");
        assertTrue(
            ward.seat(id, SECOND).bond == params.bond || released > 0, "nor does its bond shrink"
        );
    }
    // forge-lint: disable-end(unsafe-typecast)
}

contract CourtInvariantTest is CourtScene {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    CourtHandler internal handler;

    function setUp() public virtual override {
        handler = new CourtHandler(false);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// What histories are made of comes up more often.
    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[16] memory chosen = [
            CourtHandler.wait.selector,
            CourtHandler.wait.selector,
            CourtHandler.close.selector,
            CourtHandler.close.selector,
            CourtHandler.register.selector,
            CourtHandler.demandContribution.selector,
            CourtHandler.answerContribution.selector,
            CourtHandler.challenge.selector,
            CourtHandler.challenge.selector,
            CourtHandler.demand.selector,
            CourtHandler.closeDemand.selector,
            CourtHandler.tally.selector,
            CourtHandler.stepTally.selector,
            CourtHandler.takeOver.selector,
            CourtHandler.attest.selector,
            CourtHandler.claim.selector
        ];
        bytes4[] memory selectors = new bytes4[](23);
        for (uint256 i = 0; i < 16; ++i) {
            selectors[i] = chosen[i];
        }
        (selectors[16], selectors[17]) =
        (CourtHandler.collect.selector, CourtHandler.releaseBond.selector);
        (selectors[18], selectors[19], selectors[20]) =
        (
            CourtHandler.commit.selector,
            CourtHandler.closeCommitment.selector,
            CourtHandler.closeTally.selector
        );
        (selectors[21], selectors[22]) =
        (CourtHandler.closeContribution.selector, CourtHandler.refuseContribution.selector);
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector({addr: address(handler), selectors: selectors});
    }

    /// Solvency and conservation of both contracts; one close a round; final rounds stay; the honest
    /// lose nothing; no cheat gets away while its round is not final.
    function invariant_justice() public view {
        handler.check();
    }
}

/// The same of a study that locks its cohorts.
/// forge-config: deep.invariant.runs = 64
contract CourtLockInvariantTest is CourtInvariantTest {
    function setUp() public override {
        handler = new CourtHandler(true);
    }
}

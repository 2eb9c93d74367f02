// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    CoordinateProof,
    Demand,
    DemandStatus,
    EntryFault,
    ICourt,
    Ranks,
    Reward,
    RewardsFault,
    Standing,
    Tally,
    TallyStart,
    Target,
    What
} from "./interfaces/ICourt.sol";
import {
    Closing,
    IWardRound,
    Recording,
    Registration,
    Rule,
    Scoring,
    Site,
    StudyId,
    Terms
} from "./interfaces/IWardRound.sol";
import {Aggregation} from "./libraries/Aggregation.sol";
import {CompactRange} from "./libraries/CompactRange.sol";
import {Deposits} from "./libraries/Deposits.sol";
import {Entries, Entry} from "./libraries/Entries.sol";
import {MerkleTree} from "./libraries/MerkleTree.sol";
import {Rewards} from "./libraries/Rewards.sol";
import {Studies} from "./libraries/Studies.sol";
import {Vectors} from "./libraries/Vectors.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title Court
/// @notice Where a closed round that breaks its study's rules is proven wrong.
/// @dev Every challenge reads: what is accused, the proof, the verdict. Loops run over calldata
/// only. No token is called where a round is overturned, so no token can keep one from it.
contract Court is ICourt {
    using Entries for bytes;
    using MerkleTree for bytes32[];
    using SafeERC20 for IERC20;
    using Vectors for bytes;

    bytes32 internal constant DOMAIN_TYPEHASH = keccak256(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    );

    /// Of a tally that computes no coordinate.
    uint32 internal constant NO_COORDINATE = type(uint32).max;

    /// @inheritdoc ICourt
    IWardRound public immutable WARD;

    /// A coordinate's chunk in the tree of every vector of a study.
    struct Place {
        uint256 coordinate;
        uint256 index;
        uint256 size;
        uint256 length;
        uint256 opening;
    }

    /// A demand for a chunk of a registered update.
    struct Asked {
        uint64 deadline;
        bool answered;
    }

    mapping(bytes32 demand => Demand) internal _demands;
    mapping(uint256 tally => Tally) internal _tallies;
    mapping(uint256 tally => mapping(uint256 level => bytes32)) internal _peaks;
    uint256 internal _tallyCount;
    mapping(bytes32 registration => Standing) internal _standings;
    mapping(bytes32 registration => mapping(uint32 chunk => Asked)) internal _asked;
    mapping(StudyId => mapping(address => uint256)) internal _owed;

    /// @param ward Where WardRound will be: the deployer's next contract. WardRound's constructor
    /// checks it, so a court with a wrong one belongs to no WardRound.
    constructor(IWardRound ward) {
        WARD = ward;
    }

    // ================================================================== challenges

    /// @inheritdoc ICourt
    function challengeCoordinate(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        bytes calldata entries,
        CoordinateProof calldata proof
    ) external {
        _checkAccused(id, round, closing);
        _checkPrevious(id, round, previous);
        _checkEntries(closing, entries);

        Terms memory s = WARD.terms(id);
        Place memory place = _placeOf(s.parameterCount, proof.coordinate);
        int256 base = _valueIn(proof.base, previous.record.model, place);
        int256 recorded = _valueIn(proof.model, closing.record.model, place);
        int256 expected = base + _aggregate(s, entries, proof.updates, place);
        _judgeCoordinate(id, round, closing, proof.coordinate, expected, recorded);
    }

    /// @inheritdoc ICourt
    function challengeEntry(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        bytes calldata entry,
        uint32 index,
        bytes32[] calldata path
    ) external {
        _checkAccused(id, round, closing);
        _checkPrevious(id, round, previous);
        _checkIncluded(closing, entry, index, path);

        EntryFault fault = _faultOf(id, round, previous.record.model, entry, index);

        emit EntryProven(id, round, msg.sender, index, fault);
        _overturn(id, round, closing, msg.sender, "entry");
    }

    /// @inheritdoc ICourt
    function challengeOrder(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        bytes calldata first,
        bytes calldata second,
        uint32 index,
        bytes32[] calldata firstPath,
        bytes32[] calldata secondPath
    ) external {
        _checkAccused(id, round, closing);
        address site = _includedEntry(closing, first, index, firstPath).site();
        address next = _includedEntry(closing, second, uint256(index) + 1, secondPath).site();
        if (site < next) revert Court_OrderRight(index);

        emit OrderProven(id, round, msg.sender, index);
        _overturn(id, round, closing, msg.sender, "order");
    }

    /// @inheritdoc ICourt
    function challengeTotals(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        bytes calldata entries
    ) external {
        _checkAccused(id, round, closing);
        uint256 count = _checkEntries(closing, entries);
        uint256 totalWeight = _totalWeightOf(entries);
        _judgeTotals(id, round, closing, count, totalWeight);
    }

    /// @inheritdoc ICourt
    function challengeOmission(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        address site,
        uint32 index,
        bytes calldata before,
        bytes calldata behind,
        bytes32[] calldata beforePath,
        bytes32[] calldata behindPath
    ) external {
        _checkAccused(id, round, closing);
        _checkRegistered(id, round, closing.closedAt, site);

        // Entries ascend: no entry is between these two, before the first or behind the last.
        bool between = index <= closing.record.count;
        if (index > 0) {
            Entry entry = _includedEntry(closing, before, uint256(index) - 1, beforePath);
            between = between && entry.site() < site;
        }
        if (index < closing.record.count) {
            Entry entry = _includedEntry(closing, behind, index, behindPath);
            between = between && site < entry.site();
        }
        if (!between) revert Court_NotOmitted(site, index);

        emit OmissionProven(id, round, msg.sender, site);
        _overturn(id, round, closing, msg.sender, "omission");
    }

    /// @inheritdoc ICourt
    function challengeRewards(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        bytes calldata entries,
        Reward[] calldata before,
        Reward[] calldata afterwards
    ) external {
        _checkAccused(id, round, closing);
        _checkPrevious(id, round, previous);
        _checkEntries(closing, entries);
        // Only before round 1 has no site earned: without the tree of the round before, nothing can be
        // added to.
        if (before.length == 0 && round != 1) revert Court_RewardsUnsorted(0);
        Rewards.check(before, previous.record.rewards);
        Terms memory s = WARD.terms(id);
        RewardsFault fault;
        if (s.scoring == Scoring.Examples) {
            uint256 totalWeight = _totalWeightOf(entries);
            if (totalWeight == 0) revert Court_WeightsZero();
            fault = Rewards.faultOfSplit(
                closing.record, entries, totalWeight, before, s.rewardPerRound
            );
        } else {
            Rewards.check(afterwards, closing.record.rewards);
            fault = Rewards.faultOf(closing.record, entries, before, afterwards, s.rewardPerRound);
        }

        emit RewardsProven(id, round, msg.sender, fault);
        _overturn(id, round, closing, msg.sender, "rewards");
    }

    // ================================================================== tallies

    /// @inheritdoc ICourt
    function openTally(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        TallyStart calldata start
    ) external returns (uint256 tally) {
        bytes32 commitment = _checkAccused(id, round, closing);
        Terms memory s = WARD.terms(id);
        uint64 latest =
            closing.closedAt + 3 * uint64(s.challengeSeconds) + 2 * uint64(s.demandSeconds);
        if (block.timestamp >= latest) revert Court_TooLate(latest);

        tally = ++_tallyCount;
        Tally storage t = _tallies[tally];
        t.study = id;
        t.commitment = commitment;
        t.owner = msg.sender;
        t.round = round;
        t.coordinate = start.coordinate;
        t.limit = latest + s.challengeSeconds;
        if (start.coordinate != NO_COORDINATE) {
            _checkPrevious(id, round, previous);
            Place memory place = _placeOf(s.parameterCount, start.coordinate);
            t.base = _valueIn(start.base, previous.record.model, place);
            t.model = _valueIn(start.model, closing.record.model, place);
            t.low = start.low;
            t.high = start.high;
        }
        emit TallyOpened(id, round, msg.sender, tally, start.coordinate);
        _extend(t, s.challengeSeconds);
    }

    /// @inheritdoc ICourt
    function addToTally(uint256 tally, bytes calldata entries, bytes calldata updates) external {
        Tally storage t = _ownTally(tally);
        // A round that was overturned and closed again is another one.
        if (WARD.commitment(t.study, t.round) != t.commitment) {
            revert Court_NotChallengeable(t.study, t.round);
        }
        Terms memory s = WARD.terms(t.study);

        uint32 count = _count(tally, t.count, entries);
        t.count = count;
        Ranks memory ranks = t.ranks;
        ranks.totalWeight += uint128(_totalWeightOf(entries));
        if (t.coordinate != NO_COORDINATE) {
            Place memory place = _placeOf(s.parameterCount, t.coordinate);
            int32[] memory values = _valuesIn(entries, updates, place);
            if (s.rule == Rule.Mean) {
                ranks.sum += _weightedSum(values, entries);
            } else {
                _rank(ranks, values, t.low, t.high);
            }
        } else if (updates.length != 0) {
            revert Court_OpeningMalformed(updates.length, 0);
        }
        t.ranks = ranks;
        emit TallyExtended(tally, count, ranks.totalWeight);
        _extend(t, s.challengeSeconds);
    }

    /// @inheritdoc ICourt
    function finishTally(uint256 tally, Closing calldata closing) external {
        Tally storage t = _ownTally(tally);
        (StudyId id, uint32 round, uint32 count) = (t.study, t.round, t.count);
        bytes32 given = _checkAccused(id, round, closing);
        if (given != t.commitment) revert Court_ClosingDiffers(t.commitment, given);
        bytes32 root = CompactRange.root(_peaksOf(tally, count), count);
        if (root != closing.record.contributions) {
            revert Court_EntriesDiffer(closing.record.contributions, root);
        }

        t.owner = address(0);
        Ranks memory ranks = t.ranks;
        uint32 coordinate = t.coordinate;
        if (
            coordinate == NO_COORDINATE || count != closing.record.count
                || ranks.totalWeight != closing.record.totalWeight
        ) {
            _judgeTotals(id, round, closing, count, ranks.totalWeight);
            return;
        }
        int256 change = _tallied(ranks, WARD.terms(id), count, t.low, t.high);
        _judgeCoordinate(id, round, closing, coordinate, t.base + change, t.model);
    }

    // ================================================================== demands

    /// @inheritdoc ICourt
    function demandChunk(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        Target calldata target
    ) external returns (bytes32 demand) {
        bytes32 commitment = _checkAccused(id, round, closing);
        Terms memory s = WARD.terms(id);
        // An update may have to wait for the entry that names it.
        uint256 latest = uint256(closing.closedAt) + s.challengeSeconds;
        if (target.what == What.Update) latest += uint256(s.challengeSeconds) + s.demandSeconds;
        if (block.timestamp >= latest) revert Court_TooLate(latest);

        Demand memory d;
        uint32 entryIndex = target.what == What.Update ? target.entryIndex : 0;
        demand = demandIdOf(id, round, commitment, target.what, target.index, entryIndex);
        DemandStatus status = _demands[demand].status;
        if (status == DemandStatus.Open || status == DemandStatus.Answered) {
            revert Court_AlreadyDemanded(demand);
        }
        _locate(d, id, round, closing, previous, target, s);
        d.study = id;
        d.commitment = commitment;
        d.index = target.index;
        d.round = round;
        d.deadline = uint64(block.timestamp) + s.demandSeconds;
        d.status = DemandStatus.Open;
        d.demander = msg.sender;
        d.deposit = s.bond / Studies.BOND_PER_DEPOSIT;

        _demands[demand] = d;
        emit Demanded(
            id,
            round,
            demand,
            msg.sender,
            target.what,
            target.index,
            entryIndex,
            d.deadline,
            d.deposit
        );
        // What is shown at the last moment can still be used.
        WARD.hold(id, round, d.deadline + s.challengeSeconds);
        Deposits.pull(s.token, d.deposit);
    }

    /// @inheritdoc ICourt
    function answerDemand(bytes32 demand, bytes calldata opening) external {
        Demand storage d = _demands[demand];
        if (d.status != DemandStatus.Open) revert Court_NotDemanded(demand);
        if (block.timestamp > d.deadline) revert Court_TooLate(d.deadline);
        if (!opening.isIncluded(d.length, d.root, d.index, d.size)) {
            revert Court_NotIncluded(d.root, d.index);
        }

        d.status = DemandStatus.Answered;
        _owed[d.study][msg.sender] += d.deposit;
        emit Answered(demand, msg.sender, opening[:d.length]);
    }

    /// @inheritdoc ICourt
    function closeDemand(bytes32 demand, Closing calldata closing) external {
        Demand storage d = _demands[demand];
        if (d.status != DemandStatus.Open) revert Court_NotDemanded(demand);
        bytes32 given = _commitmentOf(closing);
        if (given != d.commitment) revert Court_ClosingDiffers(d.commitment, given);
        (StudyId id, uint32 round, address demander) = (d.study, d.round, d.demander);
        bool accused = WARD.challengeable(id, round, given, closing.closedAt);
        if (accused && block.timestamp <= d.deadline) revert Court_TooEarly(d.deadline);

        d.status = DemandStatus.Closed;
        _owed[id][demander] += d.deposit;
        if (accused) {
            emit WithheldProven(id, round, demander, demand);
            // The demander is the challenger, not the caller, so that it cannot be front-run.
            _overturn(id, round, closing, demander, "withheld");
        } else {
            emit DemandLapsed(demand);
        }
    }

    /// @inheritdoc ICourt
    function collect(StudyId id, address account) external {
        uint256 amount = _owed[id][account];
        if (amount == 0) revert Court_NothingDue(id, account);

        _owed[id][account] = 0;
        emit Collected(id, account, amount);
        IERC20(WARD.terms(id).token).safeTransfer(account, amount);
    }

    // ================================================================== registered contributions

    /// @inheritdoc ICourt
    function demandContribution(StudyId id, uint32 round, address site, uint32 chunk) external {
        Terms memory s = WARD.terms(id);
        if (msg.sender != s.coordinator || round != s.head) {
            revert Court_NotCoordinator(id, msg.sender);
        }
        bytes32 key = _standingOf(id, round, _registrationOf(id, round, site).entryHash);
        Standing storage stands = _standings[key];
        if (stands.refused || (stands.unanswered > 0 && block.timestamp > stands.deadline)) {
            revert Court_RegistrationVoid(site);
        }
        if (chunk >= Vectors.chunks(s.parameterCount)) {
            revert Court_TargetUnknown(chunk, Vectors.chunks(s.parameterCount));
        }
        Asked storage asked = _asked[key][chunk];
        if (asked.deadline != 0) revert Court_AlreadyDemanded(key);

        uint64 deadline = uint64(block.timestamp) + s.demandSeconds;
        asked.deadline = deadline;
        stands.deadline = deadline;
        ++stands.unanswered;
        emit ContributionDemanded(id, round, site, chunk, deadline);
    }

    /// @inheritdoc ICourt
    function answerContribution(
        StudyId id,
        uint32 round,
        bytes calldata entry,
        uint32 chunk,
        bytes calldata opening
    ) external {
        // Whatever hashes to what was registered has the length of an entry.
        bytes32 key = _standingOf(id, round, keccak256(entry));
        Asked storage asked = _asked[key][chunk];
        if (asked.deadline == 0 || asked.answered) revert Court_NotDemanded(key);
        if (block.timestamp > asked.deadline) revert Court_TooLate(asked.deadline);
        uint256 parameterCount = WARD.terms(id).parameterCount;
        uint256 length = Vectors.chunkLength(parameterCount, chunk);
        bytes32 root = entry.first().update();
        if (!opening.isIncluded(length, root, chunk, Vectors.chunks(parameterCount))) {
            revert Court_NotIncluded(root, chunk);
        }

        asked.answered = true;
        --_standings[key].unanswered;
        emit ContributionAnswered(id, round, entry.first().site(), chunk, opening[:length]);
    }

    /// @inheritdoc ICourt
    function refuseContribution(
        StudyId id,
        uint32 round,
        Closing calldata previous,
        bytes calldata entry,
        uint32 coordinate,
        bytes calldata update,
        bytes calldata base
    ) external {
        _checkEntryLength(entry);
        address site = entry.first().site();
        bytes32 entryHash = _registrationOf(id, round, site).entryHash;
        if (keccak256(entry) != entryHash) revert Court_NotRegistered(id, round, site);
        _checkPrevious(id, round, previous);
        Place memory place = _placeOf(WARD.terms(id).parameterCount, coordinate);
        int256 sum = int256(_valueIn(base, previous.record.model, place))
            + _valueIn(update, entry.first().update(), place);
        if (sum >= type(int32).min && sum <= type(int32).max) {
            revert Court_ContributionFits(coordinate, sum);
        }

        _standings[_standingOf(id, round, entryHash)].refused = true;
        emit ContributionRefused(id, round, site, coordinate);
    }

    // ================================================================== views

    /// @inheritdoc ICourt
    function demandOf(bytes32 demand) external view returns (Demand memory) {
        return _demands[demand];
    }

    /// @inheritdoc ICourt
    function tallyOf(uint256 tally) external view returns (Tally memory) {
        return _tallies[tally];
    }

    /// @inheritdoc ICourt
    function standing(StudyId id, uint32 round, address site)
        external
        view
        returns (Standing memory)
    {
        return _standings[_standingOf(id, round, WARD.registration(id, round, site).entryHash)];
    }

    /// @inheritdoc ICourt
    function owed(StudyId id, address account) external view returns (uint256) {
        return _owed[id][account];
    }

    /// @inheritdoc ICourt
    function demandIdOf(
        StudyId id,
        uint32 round,
        bytes32 commitment,
        What what,
        uint32 index,
        uint32 entryIndex
    ) public pure returns (bytes32) {
        return keccak256(abi.encode(id, round, commitment, what, index, entryIndex));
    }

    // ================================================================== what is accused

    /// Reverts unless the closing is valid and not yet final.
    function _checkAccused(StudyId id, uint32 round, Closing calldata closing)
        internal
        view
        returns (bytes32 commitment)
    {
        commitment = _commitmentOf(closing);
        if (!WARD.challengeable(id, round, commitment, closing.closedAt)) {
            revert Court_NotChallengeable(id, round);
        }
    }

    function _commitmentOf(Closing calldata closing) internal pure returns (bytes32) {
        return keccak256(abi.encode(closing));
    }

    function _overturn(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        address challenger,
        bytes32 reason
    ) internal {
        WARD.overturn(id, round, closing, challenger, reason);
    }

    function _checkPrevious(StudyId id, uint32 round, Closing calldata previous) internal view {
        bytes32 stored = WARD.commitment(id, round - 1);
        bytes32 given = _commitmentOf(previous);
        if (stored != given) revert Court_PreviousDiffers(id, round - 1, stored, given);
    }

    // ================================================================== entries

    /// Reverts unless these are all entries of a record.
    function _checkEntries(Closing calldata closing, bytes calldata entries)
        internal
        view
        returns (uint256 count)
    {
        count = _countOf(entries);
        bytes32[] memory leaves = new bytes32[](count);
        Entry entry = entries.first();
        for (uint256 i = 0; i < count; ++i) {
            leaves[i] = MerkleTree.leafHash(entry.packed());
            entry = entry.next();
        }
        bytes32 given = leaves.root();
        bytes32 recorded = closing.record.contributions;
        if (recorded != given) revert Court_EntriesDiffer(recorded, given);
    }

    function _countOf(bytes calldata entries) internal pure returns (uint256) {
        if (entries.length % Entries.SIZE != 0) revert Court_EntriesMalformed(entries.length);
        return entries.length / Entries.SIZE;
    }

    function _checkEntryLength(bytes calldata entry) internal pure {
        if (entry.length != Entries.SIZE) revert Court_EntriesMalformed(entry.length);
    }

    function _checkIncluded(
        Closing calldata closing,
        bytes calldata entry,
        uint256 index,
        bytes32[] calldata path
    ) internal view {
        bytes32 leaf = MerkleTree.leafHash(entry);
        bytes32 root = closing.record.contributions;
        if (!MerkleTree.verify(root, leaf, index, closing.record.count, path)) {
            revert Court_EntryNotIncluded(index);
        }
    }

    function _includedEntry(
        Closing calldata closing,
        bytes calldata entry,
        uint256 index,
        bytes32[] calldata path
    ) internal view returns (Entry) {
        _checkEntryLength(entry);
        _checkIncluded(closing, entry, index, path);
        return entry.first();
    }

    function _totalWeightOf(bytes calldata entries) internal pure returns (uint256 totalWeight) {
        uint256 count = entries.length / Entries.SIZE;
        Entry entry = entries.first();
        for (uint256 i = 0; i < count; ++i) {
            totalWeight += entry.weight();
            entry = entry.next();
        }
    }

    /// What is wrong with an entry; reverts when nothing is.
    function _faultOf(
        StudyId id,
        uint32 round,
        bytes32 baseModel,
        bytes calldata packed,
        uint256 index
    ) internal view returns (EntryFault) {
        if (packed.length != Entries.SIZE) return EntryFault.Malformed;
        Entry entry = packed.first();
        // Membership and cap of a closed round never change, so who was honest stays honest.
        Site memory site = WARD.site(id, entry.site());
        if (round < site.since || round >= site.until) return EntryFault.NotMember;
        uint64 weight = entry.weight();
        if (weight == 0 || weight > site.maxWeight) return EntryFault.WeightOutOfRange;
        address signer = entry.signer(Entries.template(id, round, baseModel), _domainSeparator());
        if (signer != entry.site()) return EntryFault.SignatureInvalid;
        revert Court_EntryRight(index);
    }

    /// That of the contract which signatures are made for.
    function _domainSeparator() internal view returns (bytes32) {
        return keccak256(
            abi.encode(DOMAIN_TYPEHASH, keccak256("wardround"), keccak256("1"), block.chainid, WARD)
        );
    }

    function _judgeTotals(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        uint256 count,
        uint256 totalWeight
    ) internal {
        // Closing has checked that the recorded ones are in range: equal to them is enough.
        if (count == closing.record.count && totalWeight == closing.record.totalWeight) {
            revert Court_TotalsRight(count, totalWeight);
        }

        emit TotalsProven(id, round, msg.sender, count, totalWeight);
        _overturn(id, round, closing, msg.sender, "totals");
    }

    // ================================================================== coordinates

    function _placeOf(uint256 parameterCount, uint32 coordinate)
        internal
        pure
        returns (Place memory place)
    {
        if (coordinate >= parameterCount) {
            // The number of parameters has 32 bits.
            // forge-lint: disable-next-line(unsafe-typecast)
            revert Court_CoordinateUnknown(coordinate, uint32(parameterCount));
        }
        place.coordinate = coordinate;
        place.index = coordinate / Vectors.CHUNK_COORDINATES;
        place.size = Vectors.chunks(parameterCount);
        place.length = Vectors.chunkLength(parameterCount, place.index);
        place.opening = place.length + 32 * Vectors.pathLength(place.index, place.size);
    }

    /// A coordinate of the vector with a root.
    function _valueIn(bytes calldata opening, bytes32 root, Place memory place)
        internal
        view
        returns (int32)
    {
        if (opening.length != place.opening) {
            revert Court_OpeningMalformed(opening.length, place.opening);
        }
        if (!opening.isIncluded(place.length, root, place.index, place.size)) {
            revert Court_NotIncluded(root, place.index);
        }
        return opening.valueAt(place.coordinate);
    }

    /// A coordinate in each entry's update.
    function _valuesIn(bytes calldata entries, bytes calldata updates, Place memory place)
        internal
        view
        returns (int32[] memory values)
    {
        uint256 count = entries.length / Entries.SIZE;
        uint256 size = place.opening;
        if (updates.length != count * size) {
            revert Court_OpeningMalformed(updates.length, count * size);
        }
        values = new int32[](count);
        Entry entry = entries.first();
        for (uint256 i = 0; i < count; ++i) {
            values[i] = _valueIn(updates[i * size:(i + 1) * size], entry.update(), place);
            entry = entry.next();
        }
    }

    /// What the study's rule gives for a coordinate.
    function _aggregate(
        Terms memory s,
        bytes calldata entries,
        bytes calldata updates,
        Place memory place
    ) internal view returns (int256) {
        int32[] memory values = _valuesIn(entries, updates, place);
        _checkEnough(s, values.length);
        if (s.rule == Rule.Mean) {
            return _mean(_weightedSum(values, entries), _totalWeightOf(entries));
        }
        values = Aggregation.sort(values);
        if (s.rule == Rule.Median) return Aggregation.median(values);
        return Aggregation.trimmedMean(values, s.ruleArgument);
    }

    function _mean(int256 sum, uint256 totalWeight) internal pure returns (int256) {
        // Weights of zero can be shown one by one.
        if (totalWeight == 0) revert Court_WeightsZero();
        return Aggregation.mean(sum, totalWeight);
    }

    /// Fewer than a rule can average: the record's count is wrong, and that can be shown.
    function _checkEnough(Terms memory s, uint256 count) internal pure {
        if (count <= 2 * uint256(s.ruleArgument)) revert Court_TooFewEntries(count);
    }

    function _weightedSum(int32[] memory values, bytes calldata entries)
        internal
        pure
        returns (int256 sum)
    {
        Entry entry = entries.first();
        for (uint256 i = 0; i < values.length; ++i) {
            sum += int256(values[i]) * int256(uint256(entry.weight()));
            entry = entry.next();
        }
    }

    function _judgeCoordinate(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        uint32 coordinate,
        int256 expected,
        int256 recorded
    ) internal {
        // Out of a model's range, a sum is recorded nowhere, so it differs too.
        if (expected == recorded) revert Court_CoordinateRight(coordinate, recorded);

        emit CoordinateProven(id, round, msg.sender, coordinate, expected, recorded);
        _overturn(id, round, closing, msg.sender, "coordinate");
    }

    // ================================================================== counting on

    function _ownTally(uint256 tally) internal view returns (Tally storage t) {
        t = _tallies[tally];
        if (t.owner != msg.sender) revert Court_TallyNotYours(tally);
        // Before this the round is held; afterwards it may have become final, and must stay so.
        if (block.timestamp >= t.until) revert Court_TooLate(t.until);
    }

    /// Gives the tally, and the round, another challenge window.
    function _extend(Tally storage t, uint32 challengeSeconds) internal {
        uint64 until = uint64(block.timestamp) + challengeSeconds;
        if (until > t.limit) until = t.limit;
        t.until = until;
        WARD.hold(t.study, t.round, until);
    }

    function _peaksOf(uint256 tally, uint256 size) internal view returns (bytes32[] memory peaks) {
        peaks = new bytes32[](CompactRange.LEVELS);
        for (uint256 level = 0; size >> level != 0; ++level) {
            if (size >> level & 1 == 1) peaks[level] = _peaks[tally][level];
        }
    }

    /// Adds entries to a tally's tree.
    function _count(uint256 tally, uint256 size, bytes calldata entries) internal returns (uint32) {
        bytes32[] memory peaks = _peaksOf(tally, size);
        uint256 end = size + _countOf(entries);
        Entry entry = entries.first();
        for (; size < end; ++size) {
            CompactRange.append(peaks, size, MerkleTree.leafHash(entry.packed()));
            entry = entry.next();
        }
        for (uint256 level = 0; size >> level != 0; ++level) {
            if (size >> level & 1 == 1) _peaks[tally][level] = peaks[level];
        }
        // A tree of 2**32 entries has no peaks to hold it.
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint32(size);
    }

    /// Ranks a tally's named values among more.
    function _rank(Ranks memory ranks, int32[] memory values, int32 low, int32 high) internal pure {
        for (uint256 i = 0; i < values.length; ++i) {
            int32 value = values[i];
            if (value < low) ++ranks.belowLow;
            if (value <= low) ++ranks.throughLow;
            if (value < high) ++ranks.belowHigh;
            if (value <= high) ++ranks.throughHigh;
            if (low < value && value < high) ranks.sum += value;
        }
    }

    /// What the rule gives for a tally's coordinate.
    function _tallied(Ranks memory ranks, Terms memory s, uint256 count, int256 low, int256 high)
        internal
        pure
        returns (int256)
    {
        _checkEnough(s, count);
        if (s.rule == Rule.Mean) return _mean(ranks.sum, ranks.totalWeight);
        bool median = s.rule == Rule.Median;
        uint256 first = median ? (count - 1) / 2 : s.ruleArgument;
        uint256 last = count - 1 - first;
        // The named values have these ranks: no more values are below them, and more up to them.
        if (
            ranks.belowLow > first || first >= ranks.throughLow || ranks.belowHigh > last
                || last >= ranks.throughHigh
        ) {
            revert Court_RanksDiffer(
                ranks.belowLow, ranks.throughLow, ranks.belowHigh, ranks.throughHigh
            );
        }
        if (median) return Aggregation.middle(low, high);
        if (low == high) return low;
        // Counts of entries: far below 2**255.
        // forge-lint: disable-start(unsafe-typecast)
        int256 lows = int256(ranks.throughLow - first);
        int256 highs = int256(last + 1 - ranks.belowHigh);
        // forge-lint: disable-end(unsafe-typecast)
        return Aggregation.floorDiv(ranks.sum + low * lows + high * highs, last + 1 - first);
    }

    // ================================================================== data

    /// Fills in where demanded data must be.
    function _locate(
        Demand memory d,
        StudyId id,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        Target calldata target,
        Terms memory s
    ) internal view {
        if (target.what == What.Entry) {
            // With full recording every entry is in the chain already.
            if (s.recording != Recording.Root) revert Court_DemandsDisabled(id);
            d.root = closing.record.contributions;
            d.size = closing.record.count;
            d.length = uint32(Entries.SIZE);
        } else {
            // Trees of 32-bit coordinates have fewer leaves than coordinates.
            // forge-lint: disable-next-line(unsafe-typecast)
            d.size = uint32(Vectors.chunks(s.parameterCount));
            if (target.what == What.Model) {
                d.root = closing.record.model;
            } else if (target.what == What.Base) {
                _checkPrevious(id, round, previous);
                d.root = previous.record.model;
            } else {
                d.root =
                    _includedEntry(closing, target.entry, target.entryIndex, target.path).update();
            }
        }
        if (target.index >= d.size) revert Court_TargetUnknown(target.index, d.size);
        if (target.what != What.Entry) {
            // At most 1024.
            // forge-lint: disable-next-line(unsafe-typecast)
            d.length = uint32(Vectors.chunkLength(s.parameterCount, target.index));
        }
    }

    // ================================================================== registrations

    /// A registration for the round as it now begins.
    function _registrationOf(StudyId id, uint32 round, address site)
        internal
        view
        returns (Registration memory registered)
    {
        registered = WARD.registration(id, round, site);
        // Of a round 0 there is none, so nothing is subtracted from it.
        if (registered.registeredAt == 0 || registered.previous != WARD.commitment(id, round - 1)) {
            revert Court_NotRegistered(id, round, site);
        }
    }

    /// Reverts unless a site's contribution had to be included.
    function _checkRegistered(StudyId id, uint32 round, uint64 closedAt, address site)
        internal
        view
    {
        Registration memory registered = _registrationOf(id, round, site);
        // Strictly: without grace, a registration in the closing's own block is too late.
        uint256 from = uint256(registered.registeredAt) + WARD.terms(id).graceSeconds;
        if (from >= closedAt) revert Court_RegistrationLate(site, from, closedAt);
        Standing memory stands = _standings[_standingOf(id, round, registered.entryHash)];
        // A coordinator that asked for data had to wait until its time was over.
        if (stands.refused || (stands.unanswered > 0 && stands.deadline < closedAt)) {
            revert Court_RegistrationVoid(site);
        }
    }

    function _standingOf(StudyId id, uint32 round, bytes32 entryHash)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(id, round, entryHash));
    }
}

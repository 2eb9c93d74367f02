// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Commitment, Demand, Standing, Tally} from "../interfaces/ICourt.sol";
import {ICourtBase} from "../interfaces/ICourtBase.sol";
import {Closing, IWardRound, Named, Rule, StudyId, Terms} from "../interfaces/IWardRound.sol";
import {Aggregation} from "../libraries/Aggregation.sol";
import {Entries, Entry} from "../libraries/Entries.sol";
import {MerkleTree} from "../libraries/MerkleTree.sol";
import {Rows} from "../libraries/Rows.sol";
import {Vectors} from "../libraries/Vectors.sol";

/// @title Bench
/// @notice What every part of the court needs: which round is accused, what its entries and vectors
/// hold, and the verdict.
/// @dev All of the court's storage is here, so its own code and its annex have one layout.
abstract contract Bench is ICourtBase {
    using Entries for bytes;
    using MerkleTree for bytes32[];
    using Vectors for bytes;

    /// @inheritdoc ICourtBase
    IWardRound public immutable WARD;

    /// A coordinate's chunk in the tree of every vector of a study.
    struct Place {
        uint256 index;
        uint256 size;
        uint256 length;
        uint256 opening;
        /// In the chunk: the coordinate's first byte, and how many it has.
        uint256 start;
        uint256 width;
    }

    /// Until when a proof in the open earns nothing: a commitment to one of this closing is open.
    mapping(bytes32 accused => uint64 until) internal _reserved;
    mapping(bytes32 key => Commitment) internal _commitments;
    mapping(uint256 tally => Tally) internal _tallies;
    mapping(uint256 tally => mapping(uint256 level => bytes32)) internal _peaks;
    uint256 internal _tallyCount;
    mapping(bytes32 demand => Demand) internal _demands;
    mapping(bytes32 registration => Standing) internal _standings;

    /// @param ward Where WardRound will be: the deployer's next contract. WardRound's constructor
    /// checks it, so a court with a wrong one belongs to no WardRound.
    constructor(IWardRound ward) {
        WARD = ward;
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

    function _accusedOf(StudyId id, uint32 round, bytes32 commitment)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(id, round, commitment));
    }

    /// Whether a round is open again, or was closed again; of a lock also whether it was closed.
    function _isOverturned(StudyId id, uint32 round, bytes32 commitment)
        internal
        view
        returns (bool)
    {
        Terms memory s = _termsOf(id);
        return
            round > s.head || (round == s.head && !s.locked) || _storedOf(id, round) != commitment;
    }

    /// When what is accused was closed; of a lock now, since it can be accused until its round is.
    function _timeOf(Terms memory s, uint32 round, Closing calldata closing)
        internal
        view
        returns (uint64)
    {
        return round == s.head ? uint64(block.timestamp) : closing.closedAt;
    }

    // Calls of other contracts take room: each of these is made in one place.

    function _termsOf(StudyId id) internal view returns (Terms memory) {
        return WARD.terms(id);
    }

    /// Takes the caller's deposit.
    function _takeDeposit(StudyId id, Terms memory s) internal {
        WARD.take(id, msg.sender, s.deposit);
    }

    /// Owes a deposit to an account, which `collect` of WardRound pays.
    function _returnDeposit(StudyId id, address to) internal {
        WARD.credit(id, to, _termsOf(id).deposit);
    }

    function _storedOf(StudyId id, uint32 round) internal view returns (bytes32) {
        return WARD.commitment(id, round);
    }

    function _commitmentOf(Closing calldata closing) internal pure returns (bytes32) {
        return keccak256(abi.encode(closing));
    }

    function _checkPrevious(StudyId id, uint32 round, Closing calldata previous) internal view {
        bytes32 stored = _storedOf(id, round - 1);
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

    // ================================================================== coordinates

    /// Bytes of a coordinate.
    function _widthOf(Terms memory s) internal pure returns (uint256) {
        return s.rule == Rule.Sum ? 8 : 4;
    }

    /// Bytes of a vector.
    function _lengthOf(Terms memory s) internal pure returns (uint256) {
        return s.parameterCount * _widthOf(s);
    }

    function _placeOf(Terms memory s, uint32 coordinate)
        internal
        pure
        returns (Place memory place)
    {
        if (coordinate >= s.parameterCount) {
            revert Court_CoordinateUnknown(coordinate, s.parameterCount);
        }
        uint256 length = _lengthOf(s);
        place.width = _widthOf(s);
        place.index = coordinate * place.width / Vectors.CHUNK_SIZE;
        place.start = coordinate * place.width % Vectors.CHUNK_SIZE;
        place.size = Vectors.chunks(length);
        place.length = Vectors.chunkLength(length, place.index);
        place.opening = place.length + 32 * Vectors.pathLength(place.index, place.size);
    }

    /// A coordinate of the vector with a root.
    function _valueIn(bytes calldata opening, bytes32 root, Place memory place)
        internal
        view
        returns (int256)
    {
        if (opening.length != place.opening) {
            revert Court_OpeningMalformed(opening.length, place.opening);
        }
        if (!opening.isIncluded(place.length, root, place.index, place.size)) {
            revert Court_NotIncluded(root, place.index);
        }
        return opening.valueAt(place.start, place.width);
    }

    /// What an aggregate is added to. A sum is added to nothing, so nothing is shown of its base.
    function _baseIn(Terms memory s, bytes calldata opening, bytes32 root, Place memory place)
        internal
        view
        returns (int256)
    {
        if (s.rule != Rule.Sum) return _valueIn(opening, root, place);
        if (opening.length != 0) revert Court_OpeningMalformed(opening.length, 0);
        return 0;
    }

    /// A coordinate of an update. One that no sum may have makes the round's sum one that no record
    /// can hold.
    function _changeIn(Terms memory s, bytes calldata opening, bytes32 root, Place memory place)
        internal
        view
        returns (int256 value)
    {
        value = _valueIn(opening, root, place);
        if (s.rule == Rule.Sum) value = Aggregation.bounded(value, s.updateBound);
    }

    /// A coordinate in each entry's update.
    function _changesIn(
        Terms memory s,
        bytes calldata entries,
        bytes calldata updates,
        Place memory place
    ) internal view returns (int256[] memory values) {
        uint256 count = entries.length / Entries.SIZE;
        uint256 size = place.opening;
        if (updates.length != count * size) {
            revert Court_OpeningMalformed(updates.length, count * size);
        }
        values = new int256[](count);
        Entry entry = entries.first();
        for (uint256 i = 0; i < count; ++i) {
            values[i] = _changeIn(s, updates[i * size:(i + 1) * size], entry.update(), place);
            entry = entry.next();
        }
    }

    function _weightedSum(int256[] memory values, bytes calldata entries)
        internal
        pure
        returns (int256 sum)
    {
        Entry entry = entries.first();
        for (uint256 i = 0; i < values.length; ++i) {
            sum += values[i] * int256(uint256(entry.weight()));
            entry = entry.next();
        }
    }

    function _mean(int256 sum, uint256 totalWeight) internal pure returns (int256) {
        // Weights of zero can be shown one by one.
        if (totalWeight == 0) revert Court_WeightsZero();
        return Aggregation.mean(sum, totalWeight);
    }

    /// Fewer than a rule can average: the record's count is wrong, and that can be shown.
    function _checkEnough(Terms memory s, uint256 count) internal pure {
        if (count < Aggregation.fewest(s.rule, s.ruleArgument)) revert Court_TooFewEntries(count);
    }

    // ================================================================== named commitments

    /// The first of several openings, which must lead to a root.
    function _opened(
        bytes calldata openings,
        uint256 length,
        bytes32 root,
        uint256 index,
        uint256 size
    ) internal view returns (bytes calldata leaf, bytes calldata rest) {
        (leaf, rest) = openings.split(length, root, index, size);
        if (leaf.length == 0) revert Court_NotIncluded(root, index);
    }

    /// The root of a named commitment, whose opening comes first.
    function _namedIn(
        Terms memory s,
        Closing calldata closing,
        Named named,
        bytes calldata openings
    ) internal view returns (bytes32 root, bytes calldata rest) {
        (, uint256 size) = Rows.place(named, s.rule, s.scoring);
        if (size == 0) revert Court_NameUnknown(named);
        bytes32 commitments = closing.record.commitments;
        (root, rest) = Rows.rootIn(openings, named, s.rule, s.scoring, commitments);
        if (root == 0) revert Court_NotIncluded(commitments, uint256(named));
    }

    /// A row of a named commitment, whose opening comes first.
    function _rowIn(
        Closing calldata closing,
        Named named,
        bytes32 root,
        uint256 index,
        bytes calldata openings
    ) internal view returns (bytes calldata row, bytes calldata rest) {
        uint256 size = Rows.countOf(named, closing.record.count);
        return _opened(openings, Rows.sizeOf(named), root, index, size);
    }

    /// Whether a rule takes numbers of whole updates.
    function _isScaled(Rule rule) internal pure returns (bool) {
        return rule == Rule.ClippedMean || rule == Rule.MultiKrum;
    }

    function _scaledBy(Rule rule) internal pure returns (Named) {
        return rule == Rule.ClippedMean ? Named.Norms : Named.Ranks;
    }

    /// What a rule multiplies each update with, out of all rows of its named commitment.
    function _factorsIn(Terms memory s, bytes32 root, bytes calldata rows, uint256 count)
        internal
        view
        returns (uint256[] memory)
    {
        uint256 size = Rows.sizeOf(_scaledBy(s.rule));
        if (rows.length != count * size) {
            revert Court_OpeningMalformed(rows.length, count * size);
        }
        bytes32[] memory leaves = new bytes32[](count);
        uint256[] memory numbers = new uint256[](count);
        for (uint256 i = 0; i < count; ++i) {
            bytes calldata row = rows[i * size:(i + 1) * size];
            leaves[i] = MerkleTree.leafHash(row);
            numbers[i] = uint256(row.wordAt(0));
        }
        if (leaves.root() != root) revert Court_NotIncluded(root, 0);
        if (s.rule == Rule.ClippedMean) return Aggregation.clipFactors(numbers);
        return Aggregation.selected(numbers, s.ruleArgument);
    }

    /// What entries' updates, each multiplied with its factor, add up to.
    /// @param from Place of the first entry's factor.
    function _scaledSum(
        Terms memory s,
        bytes calldata entries,
        bytes calldata updates,
        Place memory place,
        uint256[] memory factors,
        uint256 from
    ) internal view returns (int256 sum) {
        uint256 count = entries.length / Entries.SIZE;
        Entry entry = entries.first();
        for (uint256 i = 0; i < count; ++i) {
            uint256 factor = factors[from + i];
            if (factor != 0 || s.rule == Rule.ClippedMean) {
                if (updates.length < place.opening) {
                    revert Court_OpeningMalformed(updates.length, place.opening);
                }
                int256 value = _valueIn(updates[:place.opening], entry.update(), place);
                updates = updates[place.opening:];
                sum += s.rule == Rule.ClippedMean
                    ? Aggregation.clipped(value, factor) * int256(uint256(entry.weight()))
                    : value;
            }
            entry = entry.next();
        }
        if (updates.length != 0) revert Court_OpeningMalformed(updates.length, 0);
    }

    /// The mean of what `_scaledSum` gives of all entries.
    function _scaledMean(Terms memory s, int256 sum, uint256 count, uint256 totalWeight)
        internal
        pure
        returns (int256)
    {
        if (s.rule == Rule.ClippedMean) return _mean(sum, totalWeight);
        return Aggregation.floorDiv(sum, count - s.ruleArgument);
    }

    // ================================================================== the verdict

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
        _overturnProven(id, round, closing, "coordinate");
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
        _overturnProven(id, round, closing, "totals");
    }

    /// Overturns a round that the caller has proven wrong. It may have copied the proof from who is
    /// about to reveal it, and then must not save the bond for a friend: so it is paid only while no
    /// commitment is open. It is never refused, or commitments would keep a round from its proof.
    function _overturnProven(StudyId id, uint32 round, Closing calldata closing, bytes32 reason)
        internal
    {
        bytes32 accused = _accusedOf(id, round, _commitmentOf(closing));
        bool paid = block.timestamp > _reserved[accused];
        _overturn(id, round, closing, msg.sender, paid, reason);
    }

    function _overturn(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        address challenger,
        bool paid,
        bytes32 reason
    ) internal {
        WARD.overturn(id, round, closing, challenger, paid, reason);
    }
}

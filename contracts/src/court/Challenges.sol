// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "../interfaces/IChallenges.sol";
import {CoordinateProof, EntryFault} from "../interfaces/ICourt.sol";
import {Closing, Rule, Site, StudyId, Terms} from "../interfaces/IWardRound.sol";
import {Aggregation} from "../libraries/Aggregation.sol";
import {Entries, Entry} from "../libraries/Entries.sol";
import {Bench} from "./Bench.sol";

/// @title Challenges
/// @notice Proofs against a closed round that fit into one transaction.
abstract contract Challenges is Bench, IChallenges {
    using Entries for bytes;

    bytes32 internal constant DOMAIN_TYPEHASH = keccak256(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    );

    // ================================================================== challenges

    /// @inheritdoc IChallenges
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

        Terms memory s = _termsOf(id);
        Place memory place = _placeOf(s, proof.coordinate);
        int256 base = _baseIn(s, proof.base, previous.record.model, place);
        int256 recorded = _valueIn(proof.model, closing.record.model, place);
        int256 expected = base
            + (_isScaled(s.rule)
                    ? _scaled(s, closing, entries, proof, place)
                    : _aggregate(s, entries, proof.updates, place));
        _judgeCoordinate(id, round, closing, proof.coordinate, expected, recorded);
    }

    /// @inheritdoc IChallenges
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
        _overturnProven(id, round, closing, "entry");
    }

    /// @inheritdoc IChallenges
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
        _overturnProven(id, round, closing, "order");
    }

    /// @inheritdoc IChallenges
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

    // ================================================================== what must hold

    /// What the study's rule gives for a coordinate.
    function _aggregate(
        Terms memory s,
        bytes calldata entries,
        bytes calldata updates,
        Place memory place
    ) internal view returns (int256) {
        int256[] memory values = _changesIn(s, entries, updates, place);
        _checkEnough(s, values.length);
        if (s.rule == Rule.Mean) {
            return _mean(_weightedSum(values, entries), _totalWeightOf(entries));
        }
        if (s.rule == Rule.Sum) return Aggregation.total(values);
        values = Aggregation.sort(values);
        if (s.rule == Rule.Median) return Aggregation.median(values);
        return Aggregation.trimmedMean(values, s.ruleArgument);
    }

    /// What a rule that scales whole updates gives for a coordinate.
    function _scaled(
        Terms memory s,
        Closing calldata closing,
        bytes calldata entries,
        CoordinateProof calldata proof,
        Place memory place
    ) internal view returns (int256) {
        uint256 count = entries.length / Entries.SIZE;
        _checkEnough(s, count);
        (bytes32 root, bytes calldata rows) = _namedIn(s, closing, _scaledBy(s.rule), proof.rows);
        uint256[] memory factors = _factorsIn(s, root, rows, count);
        int256 sum = _scaledSum(s, entries, proof.updates, place, factors, 0);
        return _scaledMean(s, sum, count, _totalWeightOf(entries));
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
            abi.encode(DOMAIN_TYPEHASH, keccak256("wardround"), keccak256("2"), block.chainid, WARD)
        );
    }
}

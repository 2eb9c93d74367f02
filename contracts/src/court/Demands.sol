// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Demand, DemandStatus, Target, What} from "../interfaces/ICourt.sol";
import {IDemands} from "../interfaces/IDemands.sol";
import {Closing, Named, Rule, StudyId, Terms} from "../interfaces/IWardRound.sol";
import {Entries, Entry} from "../libraries/Entries.sol";
import {Rows} from "../libraries/Rows.sol";
import {SumTree} from "../libraries/SumTree.sol";
import {Vectors} from "../libraries/Vectors.sol";
import {Bench} from "./Bench.sol";

/// @title Demands
/// @notice Data of a closed round is demanded, shown, or missing; its deposit goes to who is right.
abstract contract Demands is Bench, IDemands {
    using Vectors for bytes;

    // ================================================================== demands

    /// @inheritdoc IDemands
    function demandChunk(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        Target calldata target
    ) external returns (bytes32 demand) {
        bytes32 commitment = _checkAccused(id, round, closing);
        Terms memory s = _termsOf(id);
        // An update may have to wait for the entry that names it, a row or a page for one before.
        uint256 latest = uint256(_timeOf(s, round, closing)) + s.challengeSeconds;
        bool placed = target.what == What.Update || _isNamed(target.what);
        if (placed) latest += uint256(s.challengeSeconds) + s.demandSeconds;
        if (block.timestamp >= latest) revert Court_TooLate(latest);

        Demand memory d;
        uint32 entryIndex = placed ? target.entryIndex : 0;
        demand = demandIdOf(id, round, commitment, target.what, target.index, entryIndex);
        DemandStatus status = _demands[demand].status;
        if (status == DemandStatus.Open || status == DemandStatus.Answered) {
            revert Court_AlreadyDemanded(demand);
        }
        // A lock promises no more than its entries, and their updates.
        bool locked = round == s.head;
        if (locked && target.what != What.Entry && target.what != What.Update) {
            revert Court_DemandsDisabled(id);
        }
        _locate(d, id, round, closing, previous, target, s);
        d.study = id;
        d.commitment = commitment;
        d.index = target.index;
        d.round = round;
        d.deadline = uint64(block.timestamp) + s.demandSeconds;
        d.status = DemandStatus.Open;
        d.what = target.what;
        d.row = entryIndex;
        d.demander = msg.sender;
        d.deposit = s.deposit;

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
        WARD.take(id, msg.sender, d.deposit);
    }

    /// @inheritdoc IDemands
    function answerDemand(bytes32 demand, Closing calldata closing, bytes calldata opening)
        external
    {
        Demand storage d = _openDemand(demand, closing);
        (StudyId id, uint96 deposit) = (d.study, d.deposit);
        if (block.timestamp > d.deadline) revert Court_TooLate(d.deadline);
        // Of a round that another proof overturned, the demander has its deposit back instead.
        if (_isOverturned(id, d.round, d.commitment)) revert Court_NotChallengeable(id, d.round);
        if (_isNamed(d.what)) {
            _checkShown(d, closing, opening);
        } else if (!opening.isIncluded(d.length, d.root, d.index, d.size)) {
            revert Court_NotIncluded(d.root, d.index);
        }

        d.status = DemandStatus.Answered;
        emit Answered(demand, msg.sender, opening);
        // A demand that its author answers itself is not free either.
        uint256 half = deposit / 2;
        WARD.credit(id, closing.coordinator, half);
        WARD.credit(id, msg.sender, deposit - half);
    }

    /// @inheritdoc IDemands
    function closeDemand(bytes32 demand, Closing calldata closing) external {
        Demand storage d = _openDemand(demand, closing);
        (StudyId id, uint32 round, address demander) = (d.study, d.round, d.demander);
        bool accused = WARD.challengeable(id, round, d.commitment, closing.closedAt);
        if (accused && block.timestamp <= d.deadline) revert Court_TooEarly(d.deadline);

        d.status = DemandStatus.Closed;
        if (accused) {
            emit WithheldProven(id, round, demander, demand);
            // The demander is the challenger, not the caller, so that it cannot be front-run.
            _overturn(id, round, closing, demander, true, "withheld");
        } else {
            emit DemandLapsed(demand);
        }
        WARD.credit(id, demander, d.deposit);
    }

    /// @inheritdoc IDemands
    function demandOf(bytes32 demand) external view returns (Demand memory) {
        return _demands[demand];
    }

    /// @inheritdoc IDemands
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

    // ================================================================== data

    /// An open demand; reverts unless it is about this closing.
    function _openDemand(bytes32 demand, Closing calldata closing)
        internal
        view
        returns (Demand storage d)
    {
        d = _demands[demand];
        if (d.status != DemandStatus.Open) revert Court_NotDemanded(demand);
        bytes32 given = _commitmentOf(closing);
        if (given != d.commitment) revert Court_ClosingDiffers(d.commitment, given);
    }

    function _isNamed(What what) internal pure returns (bool) {
        return what >= What.Distances;
    }

    /// Both lists are in this order.
    function _namedOf(What what) internal pure returns (Named) {
        return Named(uint8(what) - uint8(What.Distances));
    }

    /// Reverts unless a row and a page of its sum tree, all the way from the record, are shown.
    function _checkShown(Demand storage d, Closing calldata closing, bytes calldata openings)
        internal
        view
    {
        Named named = _namedOf(d.what);
        (bytes32 root, bytes calldata rest) = _namedIn(_termsOf(d.study), closing, named, openings);
        bytes calldata row;
        (row, rest) = _rowIn(closing, named, root, d.row, rest);
        if (named != Named.Ranks) {
            (, rest) = _opened(rest, SumTree.PAGE_SIZE, row.wordAt(1), d.index, d.size);
        }
        // Readers cut an answer into its parts by their lengths alone.
        if (rest.length != 0) {
            revert Court_OpeningMalformed(openings.length, openings.length - rest.length);
        }
    }

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
            // With full recording they are in a transaction, which not every reader finds: a contract may
            // have sent it, or with other bytes between them.
            d.root = closing.record.contributions;
            d.size = closing.record.count;
            d.length = uint32(Entries.SIZE);
        } else if (_isNamed(target.what)) {
            Named named = _namedOf(target.what);
            (, uint256 names) = Rows.place(named, s.rule, s.scoring);
            if (names == 0) revert Court_NameUnknown(named);
            uint256 rows = Rows.countOf(named, closing.record.count);
            if (target.entryIndex >= rows) revert Court_TargetUnknown(target.entryIndex, rows);
            d.root = closing.record.commitments;
            // Trees have fewer leaves than coordinates.
            // forge-lint: disable-next-line(unsafe-typecast)
            d.size = uint32(named == Named.Ranks ? 1 : SumTree.pages(Vectors.chunks(_lengthOf(s))));
        } else {
            // Trees have fewer leaves than coordinates.
            // forge-lint: disable-next-line(unsafe-typecast)
            d.size = uint32(Vectors.chunks(_lengthOf(s)));
            if (target.what == What.Model) {
                d.root = closing.record.model;
            } else if (target.what == What.Base) {
                // No proof against a sum opens it, so no challenger needs it.
                if (s.rule == Rule.Sum) revert Court_DemandsDisabled(id);
                _checkPrevious(id, round, previous);
                d.root = previous.record.model;
            } else {
                d.root =
                    _includedEntry(closing, target.entry, target.entryIndex, target.path).update();
            }
        }
        if (target.index >= d.size) revert Court_TargetUnknown(target.index, d.size);
        if (target.what != What.Entry && !_isNamed(target.what)) {
            // At most 1024.
            // forge-lint: disable-next-line(unsafe-typecast)
            d.length = uint32(Vectors.chunkLength(_lengthOf(s), target.index));
        }
    }
}

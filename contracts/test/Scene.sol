// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {StudyToken} from "../src/StudyToken.sol";
import {ICourt} from "../src/interfaces/ICourt.sol";
import {
    Closing,
    Cohort,
    Earning,
    IWardRound,
    Record,
    Recording,
    Rule,
    Scoring,
    Signed,
    StudyId,
    StudyParams
} from "../src/interfaces/IWardRound.sol";
import {Entries} from "../src/libraries/Entries.sol";
import {MerkleTree} from "../src/libraries/MerkleTree.sol";
import {Trees} from "./Trees.sol";

/// A study with real keys, signatures and trees.
abstract contract Scene is Trees {
    /// One site's contribution, not packed yet.
    struct Draft {
        uint256 key;
        address site;
        uint64 weight;
        bytes32 update;
        bytes32 report;
        bytes signature;
    }

    address internal constant SPONSOR = address(0x5205);
    address internal constant FIRST = address(0xC001);
    address internal constant SECOND = address(0xC002);
    address internal constant THIRD = address(0xC003);
    uint32 internal constant MAX_WEIGHT = 100_000;
    uint32 internal constant REGISTRATION_SECONDS = 10 minutes;

    /// Of secp256k1: the order of its group, and the first coordinate of its generator.
    uint256 internal constant ORDER =
        0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
    uint256 internal constant GENERATOR_X =
        0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798;

    uint256[] private _siteKeys;
    uint256[] private _auditorKeys;
    mapping(uint256 key => address) private _addressOf;

    IWardRound internal ward;
    StudyToken internal token;

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        makeKeys();
        ward = deployWard(deployCourt(1));
        token = new StudyToken(type(uint128).max);
        // Below 2**127, so that no test runs into the token's supply.
        // OpenZeppelin's token reverts when it cannot transfer.
        // forge-lint: disable-next-line(erc20-unchecked-transfer)
        token.transfer(SPONSOR, 2 ** 126);
        for (uint256 i = 0; i < 3; ++i) {
            // forge-lint: disable-next-line(erc20-unchecked-transfer)
            token.transfer(coordinators()[i], 2 ** 100);
            approve(coordinators()[i]);
        }
        approve(SPONSOR);
        token.approve(address(ward), type(uint256).max);
    }

    /// A court for the WardRound that this contract deploys so many deployments later.
    function deployCourt(uint256 later) internal returns (ICourt) {
        // In between are the court's annex, the court, and WardRound's annex.
        uint256 nonce = vm.getNonce(address(this)) + 2 + later;
        address next = vm.computeCreateAddress(address(this), nonce);
        address annex = vm.deployCode("CourtAnnex.sol:CourtAnnex", abi.encode(next));
        return ICourt(vm.deployCode("Court.sol:Court", abi.encode(next, annex)));
    }

    function deployWard(ICourt court) internal returns (IWardRound) {
        address annex = vm.deployCode("WardRoundAnnex.sol:WardRoundAnnex", "");
        return IWardRound(vm.deployCode("WardRound.sol:WardRound", abi.encode(court, annex)));
    }

    function approve(address owner) internal {
        vm.prank(owner);
        token.approve(address(ward), type(uint256).max);
    }

    /// What a study's escrow holds.
    function held(StudyId id) internal view returns (uint256) {
        return token.balanceOf(ward.escrowOf(id));
    }

    // ------------------------------------------------------------------ people

    function coordinators() internal pure returns (address[] memory list) {
        list = new address[](3);
        (list[0], list[1], list[2]) = (FIRST, SECOND, THIRD);
    }

    /// The keys of the first `count` sites, ascending by address.
    function siteKeys(uint256 count) internal view returns (uint256[] memory keys) {
        keys = new uint256[](count);
        for (uint256 i = 0; i < count; ++i) {
            keys[i] = _siteKeys[i];
        }
    }

    function auditorKeys(uint256 count) internal view returns (uint256[] memory keys) {
        keys = new uint256[](count);
        for (uint256 i = 0; i < count; ++i) {
            keys[i] = _auditorKeys[i];
        }
    }

    /// Making addresses of keys is most of what a fuzz run takes, so it is done once.
    function makeKeys() internal {
        _siteKeys = sortedKeys(160, 0x51fe0000);
        _auditorKeys = sortedKeys(3, 0xa0d10000);
    }

    function sortedKeys(uint256 count, uint256 start) private returns (uint256[] memory keys) {
        keys = new uint256[](count);
        address[] memory sorted = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            address made = vm.addr(start + i);
            _addressOf[start + i] = made;
            uint256 j = i;
            for (; j > 0 && sorted[j - 1] > made; --j) {
                (keys[j], sorted[j]) = (keys[j - 1], sorted[j - 1]);
            }
            (keys[j], sorted[j]) = (start + i, made);
        }
    }

    function addresses(uint256[] memory keys) internal view returns (address[] memory list) {
        list = new address[](keys.length);
        for (uint256 i = 0; i < keys.length; ++i) {
            list[i] = _addressOf[keys[i]];
        }
    }

    function payoutOf(address site) internal pure returns (address) {
        return address(uint160(site) ^ 1);
    }

    // ------------------------------------------------------------------ study

    function sampleParams(Recording recording) internal view returns (StudyParams memory) {
        return StudyParams({
            sponsor: SPONSOR,
            token: address(token),
            rewardPerRound: 1000 ether,
            bond: 50 ether,
            deposit: 5 ether,
            closingFee: 0,
            attestingFee: 0,
            rounds: 5,
            challengeSeconds: 3 days,
            objectionSeconds: 1 hours,
            roundSeconds: 1 days,
            graceSeconds: 1 hours,
            registrationSeconds: REGISTRATION_SECONDS,
            demandSeconds: 1 days,
            lifetimeSeconds: 365 days,
            minSites: 1,
            auditorQuorum: 2,
            recording: recording,
            lockedCohort: false,
            rule: Rule.Mean,
            ruleArgument: 0,
            scoring: Scoring.Examples,
            parameterCount: 1000,
            updateBound: 2 ** 24,
            initialModel: keccak256("initial model"),
            specification: keccak256("specification"),
            code: keccak256("code"),
            parties: partiesOf(coordinators(), addresses(auditorKeys(3)))
        });
    }

    function partiesOf(address[] memory ring, address[] memory auditors)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(ring, auditors));
    }

    function create(StudyParams memory params) internal returns (StudyId) {
        vm.prank(params.sponsor);
        return ward.createStudy(params, coordinators(), addresses(auditorKeys(3)));
    }

    /// Creates, funds, staffs, bonds and opens a study.
    function open(StudyParams memory params, uint256 sites) internal returns (StudyId id) {
        id = create(params);
        staff(id, params, sites);
    }

    /// Funds, staffs, bonds and opens a study.
    function staff(StudyId id, StudyParams memory params, uint256 sites) internal {
        vm.startPrank(SPONSOR);
        uint256 round = uint256(params.rewardPerRound) + params.closingFee + params.attestingFee;
        // Far below 2**128.
        // forge-lint: disable-next-line(unsafe-typecast)
        ward.fund(id, uint128(round * params.rounds));
        uint256[] memory keys = siteKeys(sites);
        for (uint256 i = 0; i < sites; ++i) {
            address site = _addressOf[keys[i]];
            ward.admitSite(id, site, payoutOf(site), MAX_WEIGHT);
        }
        vm.stopPrank();
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(coordinators()[i]);
            ward.postBond(id);
        }
        vm.prank(SPONSOR);
        ward.openStudy(id);
    }

    function beginning(StudyParams memory params) internal pure returns (Closing memory closing) {
        closing.record.model = params.initialModel;
    }

    // ------------------------------------------------------------------ rounds

    function digestOf(StudyId id, uint32 round, bytes32 baseModel, Draft memory draft)
        internal
        view
        returns (bytes32)
    {
        bytes32 structHash = keccak256(
            abi.encode(
                Entries.CONTRIBUTION_TYPEHASH,
                id,
                round,
                baseModel,
                draft.site,
                draft.update,
                draft.weight,
                draft.report
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domainSeparator(), structHash));
    }

    function domainSeparator() internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("wardround"),
                keccak256("2"),
                block.chainid,
                address(ward)
            )
        );
    }

    /// ECDSA with 1 as the nonce, so r is the generator's x and s = digest + r * key. It gives its
    /// key away, and to whoever checks it, it is as good as any. vm.sign, which keeps its key, is
    /// most of what a run of real rounds would take.
    function signed(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        uint256 s = addmod(uint256(digest), mulmod(GENERATOR_X, key, ORDER), ORDER);
        bool high = s > ORDER / 2;
        // The generator's y is even: 27, and 28 where the lower of the two s is that of minus it.
        return abi.encodePacked(GENERATOR_X, high ? ORDER - s : s, uint8(high ? 28 : 27));
    }

    /// Contributions of the first `count` sites to a round, signed.
    function drafts(StudyId id, uint32 round, bytes32 baseModel, uint256 count, uint256 seed)
        internal
        view
        returns (Draft[] memory list)
    {
        list = new Draft[](count);
        uint256[] memory keys = siteKeys(count);
        for (uint256 i = 0; i < count; ++i) {
            Draft memory draft = list[i];
            draft.key = keys[i];
            draft.site = _addressOf[keys[i]];
            draft.weight = uint64(1 + uint256(keccak256(abi.encode(seed, i))) % MAX_WEIGHT);
            draft.update = keccak256(abi.encode("update", seed, round, i));
            draft.report = keccak256(abi.encode("report", seed, round, i));
            draft.signature = signed(draft.key, digestOf(id, round, baseModel, draft));
        }
    }

    function packed(Draft memory draft) internal pure returns (bytes memory) {
        return
            abi.encodePacked(draft.site, draft.weight, draft.update, draft.report, draft.signature);
    }

    function packed(Draft[] memory list) internal pure returns (bytes memory entries) {
        for (uint256 i = 0; i < list.length; ++i) {
            entries = bytes.concat(entries, packed(list[i]));
        }
    }

    /// The honest record over contributions; model, manifest and commitments are samples.
    function recordOf(Draft[] memory list) internal view returns (Record memory record) {
        for (uint256 i = 0; i < list.length; ++i) {
            record.totalWeight += list[i].weight;
        }
        record.contributions = MerkleTree.root(entryLeaves(list));
        record.model = keccak256(abi.encode("model", record.contributions));
        record.manifest = keccak256(abi.encode("manifest", record.contributions));
        record.commitments = keccak256(abi.encode("commitments", record.contributions));
        record.count = uint32(list.length);
    }

    function entryLeaves(Draft[] memory list) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](list.length);
        for (uint256 i = 0; i < list.length; ++i) {
            leaves[i] = sha256(bytes.concat(hex"00", packed(list[i])));
        }
    }

    function sampleRecord(uint256 seed) internal pure returns (Record memory) {
        return Record({
            contributions: keccak256(abi.encode("contributions", seed)),
            model: keccak256(abi.encode("model", seed)),
            manifest: keccak256(abi.encode("manifest", seed)),
            commitments: keccak256(abi.encode("commitments", seed)),
            count: 10,
            totalWeight: 12_345
        });
    }

    /// Waits until the open round can be closed with any number of sites.
    function reachCutOff(StudyId id) internal {
        uint256 from = ward.study(id).openedAt + REGISTRATION_SECONDS;
        if (block.timestamp < from) vm.warp(from);
    }

    /// Closes a round with root recording as a coordinator, once its sites have had their time.
    function closeRoot(StudyId id, uint32 round, Record memory record, address coordinator)
        internal
        returns (Closing memory)
    {
        reachCutOff(id);
        vm.prank(coordinator);
        ward.closeRoundRoot(id, round, record);
        return
            Closing({record: record, coordinator: coordinator, closedAt: uint64(block.timestamp)});
    }

    function cohortOf(Record memory record) internal pure returns (Cohort memory) {
        return Cohort(record.contributions, record.count, record.totalWeight);
    }

    /// What a lock commits to: a closing without a model, whose time is the attempt.
    function lockOf(Cohort memory cohort, address coordinator, uint64 attempt)
        internal
        pure
        returns (Closing memory closing)
    {
        closing.record.contributions = cohort.contributions;
        closing.record.count = cohort.count;
        closing.record.totalWeight = cohort.totalWeight;
        closing.coordinator = coordinator;
        closing.closedAt = attempt;
    }

    /// Locks a round's cohort as a coordinator.
    function lock(
        StudyId id,
        uint32 round,
        StudyParams memory params,
        Cohort memory cohort,
        Closing memory previous,
        Draft[] memory list,
        address coordinator
    ) internal {
        bytes memory entries = packed(list);
        vm.prank(coordinator);
        if (params.recording == Recording.Full) {
            ward.lockCohort(id, round, cohort, previous, entries);
        } else {
            ward.lockCohortRoot(id, round, cohort);
        }
    }

    function attestationDigest(StudyId id, uint32 round, bytes32 commitment)
        internal
        view
        returns (bytes32)
    {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Attestation(bytes32 study,uint32 round,bytes32 record)"),
                id,
                round,
                commitment
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domainSeparator(), structHash));
    }

    function attestations(StudyId id, uint32 round, bytes32 commitment, uint256 count)
        internal
        view
        returns (Signed[] memory list)
    {
        bytes32 digest = attestationDigest(id, round, commitment);
        // All three are sorted together: the first `count` of them stay in order.
        uint256[] memory keys = auditorKeys(3);
        list = new Signed[](count);
        for (uint256 i = 0; i < count; ++i) {
            list[i] = Signed(_addressOf[keys[i]], signed(keys[i], digest));
        }
    }

    // ------------------------------------------------------------------ earnings

    /// What a site shows to be paid for an entry.
    function earningOf(uint32 round, Closing memory closing, Draft[] memory list, uint256 index)
        internal
        pure
        returns (Earning memory)
    {
        return Earning({
            round: round,
            closing: closing,
            entry: packed(list[index]),
            // Lists of sites are short.
            // forge-lint: disable-next-line(unsafe-typecast)
            index: uint32(index),
            path: pathOf(entryLeaves(list), index)
        });
    }

    function only(Earning memory earning) internal pure returns (Earning[] memory earnings) {
        earnings = new Earning[](1);
        earnings[0] = earning;
    }

    /// A site's share of a round's reward.
    function shareOf(uint256 reward, Record memory record, uint64 weight)
        internal
        pure
        returns (uint256)
    {
        return reward * weight / record.totalWeight;
    }
}

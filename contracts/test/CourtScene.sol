// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {CoordinateProof, ICourt, Standing} from "../src/interfaces/ICourt.sol";
import {
    Closing,
    Record,
    Recording,
    Rule,
    StudyId,
    StudyParams
} from "../src/interfaces/IWardRound.sol";
import {Scene} from "./Scene.sol";

/// Whole rounds with real models, updates, signatures and trees, so that every challenge is
/// made against what a coordinator would really close.
abstract contract CourtScene is Scene {
    // Every narrowed number was bounded above, or is fuzz whose upper bits may go.
    // forge-lint: disable-start(unsafe-typecast)
    /// A round and everything behind it.
    struct Story {
        StudyParams params;
        StudyId id;
        uint32 round;
        Closing previous;
        Closing closing;
        Draft[] list;
        int32[][] updates;
        int32[] base;
        int32[] model;
    }

    /// Consecutive chunks of a vector.
    struct Shown {
        bytes data;
        bytes32[] path;
    }

    address internal constant CHALLENGER = address(0xC4A1);

    ICourt internal court;

    function setUp() public virtual override {
        super.setUp();
        court = ICourt(ward.COURT());
        // forge-lint: disable-next-line(erc20-unchecked-transfer)
        token.transfer(CHALLENGER, 2 ** 100);
        vm.prank(CHALLENGER);
        token.approve(address(ward), type(uint256).max);
    }

    // ------------------------------------------------------------------ rounds

    /// Rules, sizes and recordings at random.
    function anyParams(uint256 seed, uint256 sites)
        internal
        view
        returns (StudyParams memory params)
    {
        params = sampleParams(Recording(pick(seed, "recording", 2)));
        params.lockedCohort = pick(seed, "locked", 2) == 1;
        params.rule = Rule(pick(seed, "rule", 3));
        if (params.rule == Rule.TrimmedMean) {
            params.ruleArgument = uint16(pick(seed, "cut", (sites + 1) / 2));
            params.minSites = 2 * params.ruleArgument + 1;
        }
        params.parameterCount = uint32(1 + pick(seed, "small", 6));
        // Around the edges of one, two and three chunks; not always, because it takes longer.
        if (pick(seed, "wide", 16) == 0) {
            params.parameterCount = uint32(254 + 256 * pick(seed, "chunks", 3) + pick(seed, "r", 5));
        }
    }

    /// A study whose round 1 is ready to be closed.
    function begin(StudyParams memory params, uint256 sites, uint256 seed)
        internal
        returns (Story memory story)
    {
        story.base = baseModel(params.parameterCount, seed);
        params.initialModel = vectorRoot(bytesOf(story.base));
        story.params = params;
        story.id = open(params, sites);
        story.round = 1;
        story.previous = beginning(params);
        contributeAll(story, sites, seed);
        settle(story);
    }

    /// The round after a closed one, ready to be closed.
    function following(Story memory story, uint256 sites, uint256 seed)
        internal
        view
        returns (Story memory next)
    {
        next.params = story.params;
        next.id = story.id;
        next.round = story.round + 1;
        next.previous = story.closing;
        next.base = story.model;
        contributeAll(next, sites, seed);
        settle(next);
    }

    /// A round that an honest coordinator has closed, the first or the second of its study.
    function anyHonest(uint256 seed) internal returns (Story memory story) {
        uint256 sites = 1 + pick(seed, "sites", 6);
        story = begin(anyParams(seed, sites), sites, seed);
        close(story);
        if (pick(seed, "second", 2) == 1) {
            vm.warp(block.timestamp + 1 hours);
            uint256 least = story.params.minSites;
            uint256 present = least + pick(seed, "present", sites - least + 1);
            story = following(story, present, seed ^ 1);
            close(story);
        }
    }

    function contributeAll(Story memory story, uint256 sites, uint256 seed) internal view {
        story.list = drafts(story.id, story.round, story.previous.record.model, sites, seed);
        story.updates = new int32[][](sites);
        for (uint256 i = 0; i < sites; ++i) {
            story.updates[i] = updateFor(story.base, seed, i);
            story.list[i].update = vectorRoot(bytesOf(story.updates[i]));
            sign(story, i);
        }
    }

    function sign(Story memory story, uint256 i) internal view {
        Draft memory draft = story.list[i];
        draft.signature =
            signed(draft.key, digestOf(story.id, story.round, story.previous.record.model, draft));
    }

    /// What an honest coordinator records.
    function settle(Story memory story) internal view {
        uint256 sites = story.updates.length;
        int256[] memory values = new int256[](sites);
        uint256[] memory weights = new uint256[](sites);
        for (uint256 k = 0; k < sites; ++k) {
            weights[k] = story.list[k].weight;
        }
        story.model = new int32[](story.base.length);
        for (uint256 i = 0; i < story.base.length; ++i) {
            for (uint256 k = 0; k < sites; ++k) {
                values[k] = story.updates[k][i];
            }
            int256 change = ruled(story.params.rule, story.params.ruleArgument, values, weights);
            story.model[i] = int32(story.base[i] + change);
        }
        Record memory record = recordOf(story.list);
        record.model = vectorRoot(bytesOf(story.model));
        story.closing.record = record;
    }

    /// The same round, settled without one site.
    function without(Story memory story, uint256 out) internal view returns (Story memory) {
        Draft[] memory list = new Draft[](story.list.length - 1);
        int32[][] memory updates = new int32[][](list.length);
        for (uint256 i = 0; i < list.length; ++i) {
            list[i] = story.list[i < out ? i : i + 1];
            updates[i] = story.updates[i < out ? i : i + 1];
        }
        (story.list, story.updates) = (list, updates);
        settle(story);
        return story;
    }

    function close(Story memory story) internal {
        close(story, FIRST);
    }

    /// Once its sites have had their time.
    function close(Story memory story, address coordinator) internal {
        story.closing.coordinator = coordinator;
        close(story.id, story.round, story.params, story.closing, story.previous, story.list);
    }

    /// By the closing's coordinator; its time is filled in.
    function close(
        StudyId id,
        uint32 round,
        StudyParams memory params,
        Closing memory closing,
        Closing memory previous,
        Draft[] memory list
    ) internal {
        bytes memory entries = packed(list);
        reachCutOff(id);
        if (params.lockedCohort) {
            lock(id, round, params, cohortOf(closing.record), previous, list, closing.coordinator);
        }
        vm.prank(closing.coordinator);
        if (params.recording == Recording.Full && !params.lockedCohort) {
            ward.closeRound(id, round, closing.record, previous, entries);
        } else {
            ward.closeRoundRoot(id, round, closing.record);
        }
        closing.closedAt = uint64(block.timestamp);
    }

    // ------------------------------------------------------------------ proofs

    function coordinateProof(Story memory story, uint256 coordinate)
        internal
        pure
        returns (CoordinateProof memory proof)
    {
        uint256 chunk = coordinate / 256;
        proof.coordinate = uint32(coordinate);
        proof.updates = openings(story, chunk, 0, story.updates.length);
        proof.base = opening(bytesOf(story.base), chunk);
        proof.model = opening(bytesOf(story.model), chunk);
    }

    /// Demands the next chunks of what a site has registered, as a coordinator.
    function ask(Story memory story, address coordinator, address site, uint32 first, uint32 count)
        internal
    {
        vm.prank(coordinator);
        court.demandContribution(story.id, story.round, site, first, count);
    }

    /// Shows chunks of a registered update.
    function show(Story memory story, uint256 who, uint32 first, uint32 count) internal {
        Shown memory shown = shownOf(bytesOf(story.updates[who]), first, count);
        bytes memory entry = packed(story.list[who]);
        court.answerContribution(
            story.id, story.round, behind(story), entry, first, shown.data, shown.path
        );
    }

    function shownOf(bytes memory data, uint256 first, uint256 count)
        internal
        pure
        returns (Shown memory shown)
    {
        for (uint256 i = first; i < first + count; ++i) {
            shown.data = bytes.concat(shown.data, chunkOf(data, i));
        }
        shown.path = rangePath(vectorLeaves(data), first, count);
    }

    function standingOf(Story memory story, address site) internal view returns (Standing memory) {
        return court.standing(story.id, story.round, behind(story), site);
    }

    /// Commitment of the round before.
    function behind(Story memory story) internal pure returns (bytes32) {
        return keccak256(abi.encode(story.previous));
    }

    function openings(Story memory story, uint256 chunk, uint256 from, uint256 to)
        internal
        pure
        returns (bytes memory all)
    {
        for (uint256 i = from; i < to; ++i) {
            all = bytes.concat(all, opening(bytesOf(story.updates[i]), chunk));
        }
    }

    function entryPath(Story memory story, uint256 index) internal pure returns (bytes32[] memory) {
        return pathOf(entryLeaves(story.list), index);
    }

    /// Recommits to entries that were tampered with.
    function recommit(Story memory story) internal pure {
        story.closing.record.contributions = rootOf(entryLeaves(story.list));
    }

    function challengeCoordinate(Story memory story, uint256 coordinate) internal {
        CoordinateProof memory proof = coordinateProof(story, coordinate);
        vm.prank(CHALLENGER);
        court.challengeCoordinate(
            story.id, story.round, story.closing, story.previous, packed(story.list), proof
        );
    }

    function assertOverturned(Story memory story) internal view {
        assertOverturned(story, 0);
    }

    /// Whether the round was overturned, and by whom its coordinator was slashed.
    /// @param deposit What the challenger has back of its demand.
    function assertOverturned(Story memory story, uint256 deposit) internal view {
        assertEq(ward.study(story.id).head, story.round, "open again");
        assertTrue(ward.seat(story.id, story.closing.coordinator).barred, "barred");
        assertEq(ward.seat(story.id, story.closing.coordinator).bond, 0, "slashed");
        uint256 reward = uint256(story.params.bond) / 2;
        assertEq(ward.owed(story.id, CHALLENGER), reward + deposit, "reward");
    }

    function assertStands(Story memory story) internal view {
        assertTrue(ward.study(story.id).head > story.round, "still closed");
        assertTrue(!ward.seat(story.id, story.closing.coordinator).barred, "not barred");
        assertEq(ward.seat(story.id, FIRST).bond, story.params.bond, "bond");
    }

    /// Calls as a transaction of its own, in a test that isolates calls: where calldata is most of
    /// what it costs, at its floor price (EIP-7623), which the EVM version of these tests does not know.
    function transact(address caller, address to, bytes memory call)
        internal
        returns (uint256 gas, bytes memory result)
    {
        bool done;
        vm.prank(caller);
        (done, result) = to.call(call);
        assertTrue(done, "the transaction");
        (, gas,,,) = vm.lastCallGas();
        uint256 tokens;
        for (uint256 i = 0; i < call.length; ++i) {
            tokens += call[i] == 0 ? 1 : 4;
        }
        uint256 floor = 21_000 + 10 * tokens;
        if (gas < floor) gas = floor;
    }

    // ------------------------------------------------------------------ vectors

    function baseModel(uint256 size, uint256 seed) internal pure returns (int32[] memory vector) {
        vector = new int32[](size);
        // The initial model of many studies is all zero; any value must do.
        if (seed % 3 == 0) return vector;
        for (uint256 i = 0; i < size; ++i) {
            vector[i] = anyValue(seed, i);
        }
    }

    /// An update that leads from a base to a model in range, as a site's always does.
    function updateFor(int32[] memory base, uint256 seed, uint256 site)
        internal
        pure
        returns (int32[] memory vector)
    {
        vector = new int32[](base.length);
        uint256 own = mixed(seed, site);
        for (uint256 i = 0; i < base.length; ++i) {
            int256 value = anyValue(own, i);
            int256 sum = value + base[i];
            bool fits = sum >= type(int32).min && sum <= type(int32).max;
            vector[i] = fits ? int32(value) : int32(0);
        }
    }

    /// Small, wide, or at the edges of 32 bits.
    function anyValue(uint256 seed, uint256 i) private pure returns (int32) {
        uint256 random = mixed(seed, i);
        uint256 kind = seed % 5;
        if (kind == 0) return int32(uint32(random));
        if (kind != 1) return int32(int256(random % 21) - 10);
        random %= 6;
        if (random < 3) return int32(int256(random) - 1);
        if (random == 3) return type(int32).min;
        return random == 4 ? type(int32).min + 1 : type(int32).max;
    }

    /// keccak256(abi.encode(a, b)), which would allocate memory for every coordinate.
    function mixed(uint256 a, uint256 b) private pure returns (uint256 hash) {
        assembly ("memory-safe") {
            mstore(0, a)
            mstore(0x20, b)
            hash := keccak256(0, 0x40)
        }
    }

    function bytesOf(int32[] memory vector) internal pure returns (bytes memory data) {
        // A word longer, because each coordinate is written as one; later ones overwrite its rest.
        data = new bytes(vector.length * 4 + 32);
        for (uint256 i = 0; i < vector.length; ++i) {
            uint32 raw = uint32(vector[i]);
            assembly ("memory-safe") {
                let swapped :=
                    or(
                        or(shl(24, and(raw, 0xff)), shl(8, and(raw, 0xff00))),
                        or(and(shr(8, raw), 0xff00), and(shr(24, raw), 0xff))
                    )
                mstore(add(add(data, 0x20), mul(i, 4)), shl(224, swapped))
            }
        }
        assembly ("memory-safe") {
            mstore(data, mul(mload(vector), 4))
        }
    }

    /// As `bytesOf`, with 64 bits a coordinate: the vectors of sums.
    function wideBytesOf(int64[] memory vector) internal pure returns (bytes memory data) {
        data = new bytes(vector.length * 8);
        for (uint256 i = 0; i < data.length; ++i) {
            data[i] = bytes1(uint8(uint64(vector[i / 8]) >> 8 * (i % 8)));
        }
    }

    function chunkOf(bytes memory data, uint256 index) internal pure returns (bytes memory chunk) {
        uint256 start = index * 1024;
        uint256 length = data.length - start < 1024 ? data.length - start : 1024;
        chunk = new bytes(length);
        copyWords({from: data, start: start, to: chunk, place: 0, length: length});
    }

    /// Copies whole words: up to 31 bytes more than asked. The contracts' EVM has no MCOPY.
    function copyWords(
        bytes memory from,
        uint256 start,
        bytes memory to,
        uint256 place,
        uint256 length
    ) internal pure {
        assembly ("memory-safe") {
            let source := add(add(from, 0x20), start)
            let target := add(add(to, 0x20), place)
            for { let i := 0 } lt(i, length) { i := add(i, 0x20) } {
                mstore(add(target, i), mload(add(source, i)))
            }
        }
    }

    function vectorLeaves(bytes memory data) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[]((data.length + 1023) / 1024);
        for (uint256 i = 0; i < leaves.length; ++i) {
            leaves[i] = sha256(bytes.concat(hex"00", chunkOf(data, i)));
        }
    }

    function vectorRoot(bytes memory data) internal pure returns (bytes32) {
        return rootOf(vectorLeaves(data));
    }

    /// A chunk and its path.
    function opening(bytes memory data, uint256 index) internal pure returns (bytes memory) {
        return abi.encodePacked(chunkOf(data, index), pathOf(vectorLeaves(data), index));
    }

    // ------------------------------------------------------------------ slow, clear rules

    function ruled(Rule rule, uint256 cut, int256[] memory values, uint256[] memory weights)
        internal
        pure
        returns (int256)
    {
        int256 sum;
        uint256 count = values.length;
        if (rule == Rule.Mean) {
            uint256 total;
            for (uint256 i = 0; i < count; ++i) {
                sum += values[i] * int256(weights[i]);
                total += weights[i];
            }
            return floored(sum, int256(total));
        }
        for (uint256 i = 1; i < count; ++i) {
            for (uint256 j = i; j > 0 && values[j - 1] > values[j]; --j) {
                (values[j - 1], values[j]) = (values[j], values[j - 1]);
            }
        }
        if (rule == Rule.Median) {
            return floored(values[(count - 1) / 2] + values[count / 2], 2);
        }
        for (uint256 i = cut; i < count - cut; ++i) {
            sum += values[i];
        }
        return floored(sum, int256(count - 2 * cut));
    }

    /// Solidity rounds toward zero, and what is below zero must be rounded away from it.
    function floored(int256 a, int256 b) internal pure returns (int256) {
        return a >= 0 ? a / b : -((-a + b - 1) / b);
    }

    // ------------------------------------------------------------------ chance

    function pick(uint256 seed, string memory what, uint256 among) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, what))) % among;
    }
    // forge-lint: disable-end(unsafe-typecast)
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IRounds} from "../src/interfaces/IRounds.sol";
import {IStudies} from "../src/interfaces/IStudies.sol";
import {
    Closing,
    Record,
    Recording,
    Signed,
    StudyId,
    StudyParams
} from "../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../src/interfaces/IWardRoundBase.sol";
import {Scene} from "./Scene.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// The part of Safe 1.4.1 that is used here.
interface ISafe {
    function setup(
        address[] calldata owners,
        uint256 threshold,
        address to,
        bytes calldata data,
        address fallbackHandler,
        address paymentToken,
        uint256 payment,
        address payable paymentReceiver
    ) external;

    function execTransaction(
        address to,
        uint256 value,
        bytes calldata data,
        uint8 operation,
        uint256 safeTxGas,
        uint256 baseGas,
        uint256 gasPrice,
        address gasToken,
        address payable refundReceiver,
        bytes calldata signatures
    ) external payable returns (bool);

    function getTransactionHash(
        address to,
        uint256 value,
        bytes calldata data,
        uint8 operation,
        uint256 safeTxGas,
        uint256 baseGas,
        uint256 gasPrice,
        address gasToken,
        address refundReceiver,
        uint256 nonce
    ) external view returns (bytes32);

    function nonce() external view returns (uint256);

    /// Of its CompatibilityFallbackHandler.
    function getMessageHash(bytes calldata message) external view returns (bytes32);
}

interface ISafeProxyFactory {
    function createProxyWithNonce(address singleton, bytes calldata initializer, uint256 salt)
        external
        returns (ISafe);
}

/// A contract that answers ERC-1271's question as it was told to.
contract Answering {
    bytes internal _answer;

    constructor(bytes memory answer) {
        _answer = answer;
    }

    fallback() external {
        bytes memory answer = _answer;
        assembly ("memory-safe") {
            return(add(answer, 32), mload(answer))
        }
    }
}

/// Sponsor, coordinator and auditor as a Safe of two owners, from Safe's published bytecode.
contract ContractAccountsTest is Scene {
    string internal constant ARTIFACTS =
        "node_modules/@safe-global/safe-contracts/build/artifacts/contracts/";
    /// keccak256 of the code at 0x41675C099F32341bf84BFc5382aF534df5C7461a on public chains.
    bytes32 internal constant SINGLETON_CODE =
        0x1fe2df852ba3299d6534ef416eefa406e56ced995bca886ab7a553e6d0c5e1c4;

    ISafe internal safe;

    function setUp() public override {
        super.setUp();
        address singleton = published("Safe.sol/Safe.json");
        assertEq(keccak256(singleton.code), SINGLETON_CODE, "Safe 1.4.1");
        address handler =
            published("handler/CompatibilityFallbackHandler.sol/CompatibilityFallbackHandler.json");
        ISafeProxyFactory factory =
            ISafeProxyFactory(published("proxies/SafeProxyFactory.sol/SafeProxyFactory.json"));
        bytes memory initializer = abi.encodeCall(
            ISafe.setup,
            (addresses(siteKeys(2)), 2, address(0), "", handler, address(0), 0, payable(address(0)))
        );
        safe = factory.createProxyWithNonce(singleton, initializer, 1);
        // forge-lint: disable-next-line(erc20-unchecked-transfer)
        token.transfer(address(safe), 2 ** 100);
    }

    // ------------------------------------------------------------------ a whole study

    function test_safe_sponsorsCoordinatesAndAudits() public {
        StudyParams memory params = sampleParams(Recording.Root);
        (params.sponsor, params.auditorQuorum, params.rounds) = (address(safe), 1, 1);
        address[] memory self = new address[](1);
        self[0] = address(safe);
        params.parties = partiesOf(self, self);
        uint256 before = token.balanceOf(address(safe));

        execute(address(ward), abi.encodeCall(IStudies.createStudy, (params, self, self)));
        StudyId id = ward.studyIdOf(params);
        execute(address(token), abi.encodeCall(IERC20.approve, (address(ward), 2 ** 100)));
        execute(address(ward), abi.encodeCall(IRounds.fund, (id, params.rewardPerRound)));
        address[] memory sites = addresses(siteKeys(params.minSites));
        for (uint256 i = 0; i < sites.length; ++i) {
            execute(
                address(ward),
                abi.encodeCall(IStudies.admitSite, (id, sites[i], payoutOf(sites[i]), MAX_WEIGHT))
            );
        }
        execute(address(ward), abi.encodeCall(IRounds.postBond, (id)));
        execute(address(ward), abi.encodeCall(IStudies.openStudy, (id)));
        Record memory record = sampleRecord(1);
        reachCutOff(id);
        execute(address(ward), abi.encodeCall(IRounds.closeRoundRoot, (id, 1, record)));
        Closing memory closing = Closing(record, address(safe), uint64(block.timestamp));

        vm.warp(block.timestamp + params.objectionSeconds);
        Signed[] memory list = new Signed[](1);
        list[0] = Signed(address(safe), message(id, 1, 2));
        ward.attest(id, 1, closing, list);
        assertTrue(ward.isFinal(id, 1, closing), "final");

        execute(address(ward), abi.encodeCall(IRounds.releaseBond, (id, closing)));
        assertEq(
            token.balanceOf(address(safe)), before - params.rewardPerRound, "the bond came back"
        );
    }

    // ------------------------------------------------------------------ auditors

    function test_attest_bySafeAndKeyTogether() public {
        (StudyId id, Closing memory closing, Signed[] memory list) = audited(address(safe));
        uint256 place = list[0].auditor == address(safe) ? 0 : 1;
        list[place].signature = message(id, 1, 2);
        ward.attest(id, 1, closing, list);
        assertTrue(ward.isFinal(id, 1, closing), "final");
    }

    /// One of its two owners, both on another record, both in the other order, or none.
    function test_attest_rejectsWhatASafeHasNotSigned() public {
        (StudyId id, Closing memory closing, Signed[] memory list) = audited(address(safe));
        uint256 place = list[0].auditor == address(safe) ? 0 : 1;
        bytes memory good = message(id, 1, 2);
        bytes[4] memory bad = [message(id, 1, 1), message(id, 2, 2), new bytes(130), bytes("")];
        for (uint256 i = 0; i < 65; ++i) {
            (bad[2][i], bad[2][65 + i]) = (good[65 + i], good[i]);
        }
        for (uint256 i = 0; i < 4; ++i) {
            list[place].signature = bad[i];
            refused(id, closing, list, address(safe));
        }
    }

    /// Another word than ERC-1271's, a shorter answer, none, or a word with more behind it, which
    /// counts.
    function testFuzz_attest_onlyByERC1271sAnswer(bytes32 word) public {
        vm.assume(word != bytes32(bytes4(0x1626ba7e)));
        bytes[4] memory answers = [
            abi.encode(word),
            abi.encodePacked(bytes4(0x1626ba7e)),
            bytes(""),
            abi.encode(bytes4(0x1626ba7e), word)
        ];
        for (uint256 i = 0; i < 4; ++i) {
            address auditor = address(new Answering(answers[i]));
            (StudyId id, Closing memory closing, Signed[] memory list) = audited(auditor);
            if (i < 3) {
                refused(id, closing, list, auditor);
            } else {
                ward.attest(id, 1, closing, list);
                assertTrue(ward.isFinal(id, 1, closing), "final");
            }
        }
    }

    // ------------------------------------------------------------------ scenes

    /// Deploys a contract of Safe's as it was published.
    function published(string memory artifact) internal returns (address made) {
        bytes memory code =
            vm.parseJsonBytes(vm.readFile(string.concat(ARTIFACTS, artifact)), ".bytecode");
        assembly ("memory-safe") {
            made := create(0, add(code, 32), mload(code))
        }
        assertTrue(made != address(0), artifact);
    }

    /// The Safe calls a contract, signed by both owners.
    function execute(address to, bytes memory data) internal {
        bytes32 digest =
            safe.getTransactionHash(to, 0, data, 0, 0, 0, 0, address(0), address(0), safe.nonce());
        safe.execTransaction(
            to, 0, data, 0, 0, 0, 0, address(0), payable(address(0)), ownersSign(digest, 2)
        );
    }

    /// The Safe's signature of an attestation, by some of its owners.
    function message(StudyId id, uint32 round, uint256 owners)
        internal
        view
        returns (bytes memory)
    {
        bytes32 digest = attestationDigest(id, round, ward.commitment(id, 1));
        return ownersSign(safe.getMessageHash(abi.encode(digest)), owners);
    }

    function ownersSign(bytes32 digest, uint256 owners) internal view returns (bytes memory list) {
        uint256[] memory keys = siteKeys(owners);
        for (uint256 i = 0; i < owners; ++i) {
            list = bytes.concat(list, signed(keys[i], digest));
        }
    }

    /// A closed round that needs a plain key's attestation and a contract's, whose is empty here.
    function audited(address auditor)
        internal
        returns (StudyId id, Closing memory closing, Signed[] memory list)
    {
        StudyParams memory params = sampleParams(Recording.Root);
        params.code = keccak256(abi.encode(auditor));
        address[] memory auditors = new address[](2);
        (auditors[0], auditors[1]) = (addresses(auditorKeys(1))[0], auditor);
        params.parties = partiesOf(coordinators(), auditors);
        vm.prank(SPONSOR);
        id = ward.createStudy(params, coordinators(), auditors);
        staff(id, params, params.minSites);
        closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        vm.warp(block.timestamp + params.objectionSeconds);
        Signed memory own = attestations(id, 1, ward.commitment(id, 1), 1)[0];
        list = new Signed[](2);
        bool first = own.auditor < auditor;
        list[first ? 0 : 1] = own;
        list[first ? 1 : 0] = Signed(auditor, "");
    }

    function refused(StudyId id, Closing memory closing, Signed[] memory list, address auditor)
        internal
    {
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_AttestationInvalid.selector, auditor)
        );
        ward.attest(id, 1, closing, list);
    }
}

"""Masked aggregation, as slow and obvious as it can be written; nothing of the product.

`tests.vectors.make` writes `document` to ``masking.json``. Long numbers are text.
"""

from __future__ import annotations

import random
import struct
from fractions import Fraction
from hashlib import sha256
from itertools import combinations
from math import floor
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils import keccak

from tests.vectors.trees import path, tree

RING = 2**64
RFC_8439 = [
    # Section 2.3.2, then appendix A.1: key, counter, nonce, block.
    (
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        1,
        "000000090000004a00000000",
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e",
    ),
    (
        "00" * 32,
        0,
        "00" * 12,
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
    ),
    (
        "00" * 32,
        1,
        "00" * 12,
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
    ),
    (
        "00" * 31 + "01",
        1,
        "00" * 12,
        "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
        "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0",
    ),
    (
        "00ff" + "00" * 30,
        2,
        "00" * 12,
        "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
        "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096",
    ),
    (
        "00" * 32,
        0,
        "00" * 11 + "02",
        "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"
        "8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d",
    ),
]


#: Sealed once, because sealing draws randomness: bytes 100 to 131 as root, for set 1 of the site
#: with key 9 in its epoch 0, held by the helper with key 1, study 0x0101…, to the key below.
SEALED_ROOT = (
    "7f136bd4f224dbd5841597839bf6b916d6d1942bb118a2047e16884181a2724429e5bb75e2dd0e4b66542fd9"
    "3b04935cbd0ee781169844f1b5a6ffac105301c12ff94775b8887a6cfd1f05f302925312d6aff5baf9ff8a98"
    "ad2141c9264eff7eee1d3cf17e2e7915609123d1950ea9afe84c31bcd8dab3768751d0f0659d4309af610fc2"
    "85a0680ef4ea3ccada37e6790a5d86a23bec0435ada648ab0c7c00544106a7c33b44f262415dd1b2f0fac3f2"
    "8f1adf68a17c1a7c824729d4d6c64e66804a3a40f7532d44661e0aa6f5bf80e897a6b930f6c00eb2ccaa2b7b"
    "af4b6339b1831742283daf0cb6b719c70ddd1da0eee5cf4a3f28c88dbee9986230f27dde2d319c176c369c92"
    "6befac37f818cddc05e8a945a9235ae0e1d996f6464f94d89c4c91a52a4ba5c178d231f287ae05a24bee9d03"
    "9e1fb4b1330050fa8c0e1b8f85df98af43f64941b27df930675982ca7c1a073b61a6575c396fa8f07ef9ad6d"
    "c24ece73c077177e4e8a75c61d5c2616b35cf291f3960c436c05d633ef0fc4240dc2bdd84a1bf061f801e1d0"
    "3ed48ac77d2c37e3ac64f04815159984a4ab0fb6fb79e7c996799af121a4bd9bba04e648cfa3219c815e4687"
    "b11be6adcf5f2e2352a41bebb8ebd096db4e9c68df015d9b6ded2811e5cd4ebc96e07263c532cba8372149c3"
    "a8c3e29e54bc7a7c8601ae9b41b6a71f93cbdf514afb5231165c31cfe3761755bdf5f2f0f3f238061d16d88d"
    "54b0489629a76fca0aa875ad748f2cf333569e5a31dba03578639642be6bec690571c865aed696185dcfd906"
    "44cc9c14fe847c6dda3b869c9864b6be6a1272a09b78b45cc9ccecaf86bb0f66cd9b762106d516240f85145b"
    "564356fc97cd57d4573b590e37a10beec0ddbe77ac0359498d995d492d2284fdfabf44dfa6f18870f69f5945"
    "b36cdc5ddce6e0c98c7607e783c9014b5e32d1f8a02b51399b5414629f5b7226ab425837fbcebef44dbd2210"
    "7ebefbbb0887a91543cc76b79358be399392148a026ef456d51d0d7cfaa02cd74cdc482784d230ad1f54a9e5"
    "8b334316520b779f7a71963b282fc6fc7dc657fab2d118c23af08f52cbb09433132dee40b7cd835b57bdc245"
    "926b1bf81aa1e5070cc6471a9da95a6d96f185d2924c45fc0ff1eef3734247e14bf412811cef19d79d0e1b72"
    "ac360f669378465ed19ac33165ee28ccb9a5c2e4d636e243d24eb367e8b673d995001ed3f2562f2ddf011be0"
    "b44c932453b44069328eb416c0805e450f1f11572571528980e4013a8bfa8bd8dc8de6f69eac2eaf9be25403"
    "becd3cb8359455696b137c0eb42967bbaef2c981710e8349ec24363e9caf3bc8d867b6c47d721133e3e96236"
    "1caf948c7efa53d4abc44aebbbff9a7c71fbdf6d8ece7860fd4c3449df0595372e60593c679455e203c0e0e9"
    "5daa531d342e78701c55d74b9b37fe55b0e30d2782afc80da94545e01b992747ada67addad1c6d97f598194e"
    "6cbbb304bebf5de0f98a5cfeae41f2c9002d6a659ab6fc254a5d82b4d7ead3ffe05bc3605877dcfc31940686"
    "c7387f7f90cf3f2e2c065238639fb93e37c0a371073654a2ff2c55e6596e1a01a516fecf6d693ae5d22e7b58"
    "17207bb168d60941c9c48a292e0a0039c508ec6c2c65487c"
)
SEEDS = {"mlkem768": bytes(range(64)), "x25519": bytes(range(64, 96))}


# ---------------------------------------------------------------- streams


def quarter_round(state: list[int], a: int, b: int, c: int, d: int) -> None:
    for target, other, mixed, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[target] = (state[target] + state[other]) % 2**32
        word = state[mixed] ^ state[target]
        state[mixed] = (word << turn | word >> 32 - turn) % 2**32


def chacha20_block(key: bytes, counter: int, nonce: bytes = bytes(12)) -> bytes:
    """RFC 8439, section 2.3."""
    words = struct.unpack("<12I", b"expand 32-byte k" + key)
    start = [*words, counter, *struct.unpack("<3I", nonce)]
    state = list(start)
    for _ in range(10):
        for column in range(4):
            quarter_round(state, column, 4 + column, 8 + column, 12 + column)
        quarter_round(state, 0, 5, 10, 15)
        quarter_round(state, 1, 6, 11, 12)
        quarter_round(state, 2, 7, 8, 13)
        quarter_round(state, 3, 4, 9, 14)
    return struct.pack("<16I", *((a + b) % 2**32 for a, b in zip(state, start, strict=True)))


def chunks_of(parameters: int) -> int:
    return len(range(0, parameters, 128))


def chunks_each(parameters: int, rounds: int) -> int:
    """The fewest chunks a segment that keep both limits."""
    chunks, most = chunks_of(parameters), min(1024, 2**20 // rounds)
    each = max(1, chunks // most)
    while len(range(0, chunks, each)) > most:
        each += 1
    return each


def segment_count(parameters: int, rounds: int) -> int:
    return len(range(0, chunks_of(parameters), chunks_each(parameters, rounds)))


def place(parameters: int, rounds: int, coordinate: int) -> tuple[int, int, int]:
    """Segment, block, word."""
    size = 128 * chunks_each(parameters, rounds)
    within = coordinate % size
    return coordinate // size, within // 8, within % 8


def mask_at(keys: list[bytes], parameters: int, rounds: int, coordinate: int) -> int:
    segment, counter, word = place(parameters, rounds, coordinate)
    block = chacha20_block(keys[segment], counter)
    return int.from_bytes(block[8 * word : 8 * word + 8], "little")


def stream(keys: list[bytes], parameters: int, rounds: int) -> list[int]:
    size = 128 * chunks_each(parameters, rounds)
    words: list[int] = []
    for number, key in enumerate(keys):
        data = b"".join(chacha20_block(key, block) for block in range(size // 8))
        wanted = min(size, parameters - number * size)
        words += struct.unpack(f"<{wanted}Q", data[: 8 * wanted])
    return words


# ---------------------------------------------------------------- keys


def hmac(key: bytes, message: bytes) -> bytes:
    """RFC 2104 for a key of 32 bytes."""
    padded = key.ljust(64, b"\0")
    inner = sha256(bytes(byte ^ 0x36 for byte in padded) + message).digest()
    return sha256(bytes(byte ^ 0x5C for byte in padded) + inner).digest()


def separator(chain_id: int, contract: str) -> bytes:
    kind = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    names = keccak(text=kind) + keccak(text="wardround") + keccak(text="2")
    return keccak(names + chain_id.to_bytes(32, "big") + bytes(12) + bytes.fromhex(contract[2:]))


def chain_key(
    root: bytes,
    domain: bytes,
    study: bytes,
    site: str,
    epoch: int,
    number: int,
    first_round: int,
    round_number: int,
) -> bytes:
    owner = domain + study + bytes.fromhex(site[2:]) + epoch.to_bytes(4, "big") + bytes([number])
    key = hmac(root, b"wardround/2 mask chain" + owner)
    for _ in range(first_round, round_number):
        key = hmac(key, b"wardround/2 mask next")
    return key


def segment_key(key: bytes, segment: int) -> bytes:
    return hmac(key, b"wardround/2 mask segment" + segment.to_bytes(4, "big"))


def stream_key(key: bytes, base: bytes, attempt: int) -> bytes:
    return sha256(b"wardround/2 mask stream" + key + base + attempt.to_bytes(4, "big")).digest()


def leaf(round_number: int, segment: int, key: bytes) -> bytes:
    place = round_number.to_bytes(4, "big") + segment.to_bytes(4, "big")
    return b"wardround/2 mask leaf" + place + key


# ---------------------------------------------------------------- rules


def weight(examples: int, cap: int, divisor: int) -> int | None:
    """None: the site cannot join."""
    found = min(64, cap, floor(Fraction(examples, divisor)))
    return found if found >= 1 else None


def is_fine(update: list[int]) -> bool:
    sizes = sorted(abs(value) for value in update if value)
    return not sizes or sizes[(len(sizes) - 1) // 2] >= 4096


def holds(members: list[tuple[int, int]]) -> bool:
    """Whether a set of (weight, min_cohort) keeps both rules."""
    total = sum(weight for weight, _ in members)
    return all(
        len(members) >= least and (least < 3 or Fraction(weight) <= Fraction(total, 2))
        for weight, least in members
    )


def cohorts(terms: list[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Places of every set that keeps both rules, the largest first."""
    return [
        places
        for size in range(len(terms), -1, -1)
        for places in combinations(range(len(terms)), size)
        if holds([terms[place] for place in places])
    ]


def masked(update: list[int], streams: list[list[int]]) -> list[int]:
    return [(value + sum(masks)) % RING for value, *masks in zip(update, *streams, strict=True)]


def mask_sum(weights: list[int], streams: list[list[int]]) -> list[int]:
    rows = zip(*streams, strict=True)
    return [sum(w * m for w, m in zip(weights, row, strict=True)) % RING for row in rows]


def aggregate_at(ys: list[int], weights: list[int], sums: list[int], bound: int) -> int | None:
    """One coordinate of the mean; None where the sum leaves the bound."""
    value = (sum(w * y for w, y in zip(weights, ys, strict=True)) - sum(sums)) % RING
    value = value - RING if value >= RING // 2 else value
    return floor(Fraction(value, sum(weights))) if abs(value) <= bound * sum(weights) else None


# ---------------------------------------------------------------- typed data

CONTRACT = "0x" + "5b" * 20
CHAIN = 31337
TYPES = {
    "SealingKey": "bytes32 study,address site,uint32 epoch,address helper,bytes32 key",
    "MaskSetup": "bytes32 study,address site,uint32 epoch,uint32 firstRound,uint32 lastRound,"
    "uint32 segments,address[3] helpers,bytes32[3] commitments,bytes32 sealed",
    "MaskedContribution": "bytes32 study,uint32 round,uint32 attempt,bytes32 baseModel,"
    "address site,bytes32 masked,bytes32 setup,uint64 weight,uint16 minCohort,bytes32 report",
    "Unmasking": "bytes32 study,uint32 round,uint32 attempt,bytes32 lock,bytes32 blockHash,"
    "uint8 set,address helper,bytes32 sum",
}


def typed(name: str, message: dict[str, Any]) -> tuple[bytes, bytes]:
    """Struct hash and signing digest by eth_account, another implementation."""
    members = [part.split(" ") for part in TYPES[name].split(",")]
    signable = encode_typed_data(
        {"name": "wardround", "version": "2", "chainId": CHAIN, "verifyingContract": CONTRACT},
        {name: [{"type": kind, "name": member} for kind, member in members]},
        message,
    )
    assert signable.header == separator(CHAIN, CONTRACT)
    return signable.body, keccak(b"\x19" + signable.version + signable.header + signable.body)


# ---------------------------------------------------------------- the file


def written(data: bytes) -> str:
    return "0x" + data.hex()


def address(number: int) -> str:
    return str(Account.from_key(bytes([number]) * 32).address).lower()


def seeded(source: random.Random, size: int = 32) -> bytes:
    return source.randbytes(size)


def ring_bytes(values: list[int]) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def vector_root(values: list[int]) -> bytes:
    data = ring_bytes(values)
    return tree([data[start : start + 1024] for start in range(0, len(data), 1024)])


def segments() -> list[dict[str, object]]:
    cases: list[dict[str, object]] = []
    for parameters, rounds in (
        (1, 1), (128, 5), (129, 5), (131072, 10), (131073, 10), (1_000_000, 50),
        (25_000_000, 200), (1_000_000, 5000), (2**32 - 1, 2**20),
    ):  # fmt: skip
        size = 128 * chunks_each(parameters, rounds)
        asked = sorted({0, 7, 8, 127, 128, size - 1, size, parameters // 2, parameters - 1})
        cases.append(
            {
                "parameters": parameters,
                "rounds": rounds,
                "chunks_each": chunks_each(parameters, rounds),
                "segments": segment_count(parameters, rounds),
                "places": [
                    [one, *place(parameters, rounds, one)] for one in asked if one < parameters
                ],
            }
        )
    return cases


def keys(source: random.Random) -> list[dict[str, object]]:
    cases: list[dict[str, object]] = []
    for epoch, number, first, last, count in ((0, 0, 1, 1, 1), (0, 1, 1, 6, 3), (2, 2, 4, 9, 5)):
        root, study, base = seeded(source), seeded(source), seeded(source)
        domain, site = separator(CHAIN, CONTRACT), address(9)
        by_round = {
            one: chain_key(root, domain, study, site, epoch, number, first, one)
            for one in range(first, last + 1)
        }
        leaves = [
            leaf(one, segment, segment_key(key, segment))
            for one, key in by_round.items()
            for segment in range(count)
        ]
        opened = []
        for one, segment, attempt in ((first, 0, 0), (last, count - 1, 3)):
            key = segment_key(by_round[one], segment)
            stream = stream_key(key, base, attempt)
            opened.append(
                {
                    "round": one,
                    "segment": segment,
                    "segment_key": written(key),
                    "leaf": written(leaf(one, segment, key)),
                    "index": (one - first) * count + segment,
                    "path": [
                        written(node) for node in path(leaves, (one - first) * count + segment)
                    ],
                    "attempt": attempt,
                    "stream_key": written(stream),
                    "blocks": [
                        {"counter": counter, "block": written(chacha20_block(stream, counter))}
                        for counter in (0, 1, 15, 2**20)
                    ],
                }
            )
        cases.append(
            {
                "root": written(root),
                "study": written(study),
                "site": site,
                "epoch": epoch,
                "set": number,
                "first_round": first,
                "last_round": last,
                "segments": count,
                "base_model": written(base),
                "chain_keys": {str(one): written(key) for one, key in by_round.items()},
                "commitment": written(tree(leaves)),
                "opened": opened,
            }
        )
    return cases


#: Set and place among its holders.
SEALED = [(number, holder) for number in range(3) for holder in range(2)]


def sealed(which: tuple[int, int]) -> bytes:
    """In place of a sealed root: as long, and of one byte."""
    return bytes([10 * which[0] + which[1]]) * 1168


def statements(source: random.Random) -> dict[str, object]:
    study, helpers = written(seeded(source)), [address(one) for one in (1, 2, 3)]
    messages: dict[str, dict[str, Any]] = {
        "SealingKey": {
            "study": study,
            "site": address(9),
            "epoch": 1,
            "helper": helpers[1],
            "key": written(sha256(bytes(range(256)) * 4 + bytes(192)).digest()),
        },
        "MaskSetup": {
            "study": study,
            "site": address(9),
            "epoch": 1,
            "firstRound": 3,
            "lastRound": 20,
            "segments": 977,
            "helpers": helpers,
            "commitments": [written(seeded(source)) for _ in range(3)],
            "sealed": written(sha256(b"".join(map(sealed, SEALED))).digest()),
        },
        "MaskedContribution": {
            "study": study,
            "round": 7,
            "attempt": 2,
            "baseModel": written(seeded(source)),
            "site": address(9),
            "masked": written(seeded(source)),
            "setup": written(seeded(source)),
            "weight": 64,
            "minCohort": 3,
            "report": written(seeded(source)),
        },
        "Unmasking": {
            "study": study,
            "round": 7,
            "attempt": 2,
            "lock": written(seeded(source)),
            "blockHash": written(seeded(source)),
            "set": 2,
            "helper": helpers[0],
            "sum": written(seeded(source)),
        },
    }
    found: dict[str, object] = {}
    for name, message in messages.items():
        struct_hash, digest = typed(name, message)
        signed = Account.unsafe_sign_hash(digest, bytes([9]) * 32)
        found[name] = {
            "type": f"{name}({TYPES[name]})",
            "message": message,
            "struct_hash": written(struct_hash),
            "digest": written(digest),
            "signer": address(9),
            "signature": written(signed.signature),
        }
    return found


def weights(source: random.Random) -> list[dict[str, object]]:
    cases: list[dict[str, object]] = []
    for _ in range(40):
        divisor = source.choice([1, 5, 10, 1000])
        examples = source.choice([1, divisor - 1, divisor, 64 * divisor, 65 * divisor - 1, 7919])
        cap = source.choice([1, 5, 63, 64, 1000])
        found = weight(examples, cap, divisor)
        cases.append(
            {"examples": examples, "cap": cap, "examples_per_weight": divisor, "weight": found}
        )
    return cases


def resolutions() -> list[dict[str, object]]:
    updates = [
        [0, 0], [], [4096], [4095], [-4095], [-4096, 0, 0, 0], [-(2**31)], [4095, 4096],
        [4096, 5000, 1], [1, 1, 4096, 4096, 4096], [1, 1, 1, 4096, 4096, 4096],
    ]  # fmt: skip
    return [{"update": update, "fine": is_fine(update)} for update in updates]


def selected(source: random.Random) -> list[dict[str, object]]:
    cases: list[dict[str, object]] = []
    for number in range(60):
        count = source.choice([1, 2, 3, 4, 5, 6])
        light = [1, 2, 3, 8] if number % 2 else [1, 64]
        terms = [
            (source.choice(light), source.choice([2, 2, 3, count, count + 1])) for _ in range(count)
        ]
        cases.append({"terms": terms, "cohort": list(cohorts(terms)[0])})
    return cases


def rounds(source: random.Random) -> list[dict[str, object]]:
    cases: list[dict[str, object]] = []
    for parameters, weights, bound, spoilt in (
        (1, [1, 1], 2**31 - 1, False),
        (300, [1, 64, 7, 63], 2**31 - 1, False),
        (140, [2, 3], 1000, True),
    ):
        planned, base, attempt = 10, seeded(source), 1
        count = segment_count(parameters, planned)
        edges = [-bound, 1 - bound, -1, 0, 1, bound - 1, bound]
        updates = [
            [source.choice([*edges, source.randint(-bound, bound)]) for _ in range(parameters)]
            for _ in weights
        ]
        if spoilt:
            updates[1][133] = bound * 2
            updates[0][133] = bound
        by_set: list[list[list[bytes]]] = [
            [[seeded(source) for _ in range(count)] for _ in weights] for _ in range(3)
        ]
        streams = [
            [
                stream([stream_key(key, base, attempt) for key in one], parameters, planned)
                for one in sites
            ]
            for sites in by_set
        ]
        ys = [
            masked(update, [streams[s][site] for s in range(3)])
            for site, update in enumerate(updates)
        ]
        sums = [mask_sum(weights, one) for one in streams]
        means = [
            aggregate_at([y[at] for y in ys], weights, [h[at] for h in sums], bound)
            for at in range(parameters)
        ]
        cases.append(
            {
                "parameters": parameters,
                "rounds": planned,
                "base_model": written(base),
                "attempt": attempt,
                "weights": weights,
                "bound": bound,
                "segment_keys": [
                    [[written(key) for key in one] for one in sites] for sites in by_set
                ],
                "updates": updates,
                "masked": [written(ring_bytes(y)) for y in ys],
                "masked_roots": [written(vector_root(y)) for y in ys],
                "mask_sums": [written(ring_bytes(h)) for h in sums],
                "mask_sum_roots": [written(vector_root(h)) for h in sums],
                "spoilt": means.index(None) if None in means else None,
                "mean": None if None in means else means,
            }
        )
    return cases


def document() -> dict[str, object]:
    """All of ``masking.json``."""
    source = random.Random(20260105)
    return {
        "domain": {"chain_id": CHAIN, "contract": CONTRACT},
        "rfc8439": [
            {"key": "0x" + key, "counter": counter, "nonce": "0x" + nonce, "block": "0x" + block}
            for key, counter, nonce, block in RFC_8439
        ],
        "segments": segments(),
        "keys": keys(source),
        "sealed": {
            "study": written(b"\x01" * 32),
            "site": address(9),
            "epoch": 0,
            "set": 1,
            "holder": address(1),
            "seeds": {name: written(seed) for name, seed in SEEDS.items()},
            "sealed": "0x" + SEALED_ROOT,
            "root": written(bytes(range(100, 132))),
        },
        "statements": statements(source),
        "weights": weights(source),
        "resolutions": resolutions(),
        "cohorts": selected(source),
        "rounds": rounds(source),
    }

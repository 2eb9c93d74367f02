// The protocol's hashes and signatures, written a second time, for the reader's own browser.
// Nothing here asks the server for a verdict: bytes go in, what follows from them comes out.
// Source: docs/protocol.md, sections 3, 5, 7, 8 and 9; tests/vectors/*.json.
import { keccak_256 } from "../vendor/noble-hashes/sha3.js";
import { recoverPublicKey } from "../vendor/noble-secp256k1/index.js";

export const CHUNK_BYTES = 1024;
export const ENTRY_BYTES = 157;
const HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n;
const CONTRIBUTION =
  "Contribution(bytes32 study,uint32 round,bytes32 baseModel,address site," +
  "bytes32 update,uint64 weight,bytes32 report)";
const DOMAIN = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const text = new TextEncoder();

export const keccak = (bytes) => keccak_256(bytes);
export const keccakText = (words) => keccak_256(text.encode(words));

export async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

export function toHex(bytes) {
  return "0x" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function fromHex(words) {
  if (typeof words !== "string" || !/^0x(?:[0-9a-fA-F]{2})*$/.test(words)) {
    throw new Error("not hexadecimal bytes");
  }
  const bytes = new Uint8Array(words.length / 2 - 1);
  for (let at = 0; at < bytes.length; at++) bytes[at] = parseInt(words.substr(2 + 2 * at, 2), 16);
  return bytes;
}

export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function equal(one, other) {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

/** A number as `size` bytes, big-endian. */
export function number(value, size = 32) {
  return fromHex("0x" + BigInt(value).toString(16).padStart(2 * size, "0"));
}

export const readNumber = (bytes) => BigInt(toHex(bytes));
const addressWord = (address) => concat(new Uint8Array(12), fromHex(address));

// -- trees of RFC 9162, section 2.1 ---------------------------------------------------------

async function treeOf(leaves) {
  if (!leaves.length) return sha256(new Uint8Array());
  let level = leaves;
  while (level.length > 1) {
    const above = [];
    for (let at = 0; at + 1 < level.length; at += 2) {
      above.push(await sha256(concat(Uint8Array.of(1), level[at], level[at + 1])));
    }
    if (level.length % 2) above.push(level[level.length - 1]);
    level = above;
  }
  return level[0];
}

export async function treeHash(items) {
  return treeOf(await Promise.all(items.map((item) => sha256(concat(Uint8Array.of(0), item)))));
}

export function vectorRoot(bytes) {
  const chunks = [];
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    chunks.push(bytes.subarray(at, at + CHUNK_BYTES));
  }
  return treeHash(chunks);
}

// -- contributions --------------------------------------------------------------------------

/** One entry of 157 bytes: site, weight, update, report, signature. */
export function unpackEntries(bytes) {
  if (bytes.length % ENTRY_BYTES) throw new Error("not a whole number of entries");
  const entries = [];
  for (let at = 0; at < bytes.length; at += ENTRY_BYTES) {
    const packed = bytes.subarray(at, at + ENTRY_BYTES);
    entries.push({
      packed,
      site: toHex(packed.subarray(0, 20)),
      weight: readNumber(packed.subarray(20, 28)),
      update: packed.subarray(28, 60),
      report: packed.subarray(60, 92),
      signature: packed.subarray(92),
    });
  }
  return entries;
}

/** The same bytes from a row of the manifest. */
export function packEntry(row) {
  const packed = concat(
    fromHex(row.site), number(row.weight, 8), fromHex(row.update.root),
    fromHex(row.report.sha256), fromHex(row.signature),
  );
  if (packed.length !== ENTRY_BYTES) throw new Error("an entry has not 157 bytes");
  return packed;
}

/** What a site's key signs (EIP-712), 32 bytes. */
export function signingDigest(domain, study, round, baseModel, entry) {
  const separator = keccak(concat(
    keccakText(DOMAIN), keccakText("wardround"), keccakText("2"),
    number(domain.chainId), addressWord(domain.contract),
  ));
  const body = keccak(concat(
    keccakText(CONTRIBUTION), study, number(round), baseModel, addressWord(entry.site),
    entry.update, number(entry.weight), entry.report,
  ));
  return keccak(concat(Uint8Array.of(0x19, 0x01), separator, body));
}

/** The address that made a signature of 65 bytes: r, s, v. */
export function signer(digest, signature) {
  const v = signature[64];
  if (signature.length !== 65 || (v !== 27 && v !== 28)) throw new Error("v is not 27 or 28");
  if (readNumber(signature.subarray(32, 64)) > HALF_ORDER) throw new Error("s is in the upper half");
  const recovered = concat(Uint8Array.of(v - 27), signature.subarray(0, 64));
  const key = recoverPublicKey(recovered, digest, { prehash: false, isCompressed: false });
  return toHex(keccak(key.subarray(1)).subarray(12));
}

// -- closing, commitments, documents --------------------------------------------------------

/** A closing's 256 bytes: what the contract hashes into its one slot a round. */
export function readClosing(bytes) {
  if (bytes.length !== 256) throw new Error("a closing has 256 bytes");
  const word = (at) => bytes.subarray(32 * at, 32 * at + 32);
  return {
    contributions: word(0), model: word(1), manifest: word(2), commitments: word(3),
    count: readNumber(word(4)), totalWeight: readNumber(word(5)),
    coordinator: toHex(word(6).subarray(12)), closedAt: readNumber(word(7)),
    commitment: keccak(bytes),
  };
}

/** Root over `SHA-256(name) || root`, ascending by name as bytes. */
export async function commitmentsRoot(named) {
  const rows = Object.keys(named).map((name) => ({ name: text.encode(name), digest: fromHex(named[name]) }));
  rows.sort((one, other) => (toHex(one.name) < toHex(other.name) ? -1 : 1));
  return treeHash(await Promise.all(rows.map(async (row) => concat(await sha256(row.name), row.digest))));
}

/** RFC 8785 for the values that manifests hold: no fractions among their numbers. */
export function canonical(value) {
  if (Array.isArray(value)) return "[" + value.map(canonical).join(",") + "]";
  if (value !== null && typeof value === "object") {
    const names = Object.keys(value).sort();
    return "{" + names.map((name) => JSON.stringify(name) + ":" + canonical(value[name])).join(",") + "}";
  }
  return JSON.stringify(value);
}

/** The CID of content of at most 1 MiB: its SHA-256 in base32. */
export function cidOf(digest) {
  const alphabet = "abcdefghijklmnopqrstuvwxyz234567";
  let bits = "";
  for (const byte of concat(Uint8Array.of(1, 0x55, 0x12, 0x20), digest)) {
    bits += byte.toString(2).padStart(8, "0");
  }
  bits = bits.padEnd(Math.ceil(bits.length / 5) * 5, "0");
  return "b" + bits.match(/.{5}/g).map((five) => alphabet[parseInt(five, 2)]).join("");
}

// -- rules ----------------------------------------------------------------------------------

/** Bytes of a coordinate: a sum is longer than what it adds up. */
export const widthOf = (rule) => (rule.name === "sum" ? 8 : 4);

/** The largest magnitude of a coordinate of an update, out of a study's ABI-encoded parameters. */
export const boundOf = (params) => readNumber(params.slice(21 * 32, 22 * 32));

export function vector(bytes, count, width = 4) {
  if (bytes.length !== width * count) throw new Error(`a vector has ${width * count} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (width === 8) {
    return BigInt64Array.from({ length: count }, (_, at) => view.getBigInt64(8 * at, true));
  }
  return Int32Array.from({ length: count }, (_, at) => view.getInt32(4 * at, true));
}

function floorDivide(value, by) {
  const quotient = value / by;
  return value % by < 0n ? quotient - 1n : quotient;
}

const sumOfProducts = (size, product) => {
  let sum = 0n;
  for (let at = 0; at < size; ++at) sum += product(at);
  return sum;
};

function squareRoot(value) {
  if (value < 2n) return value;
  let root = BigInt(Math.floor(Math.sqrt(Number(value))));
  while (root * root > value) --root;
  while ((root + 1n) * (root + 1n) <= value) ++root;
  return root;
}

/** What each update is scaled by so that none is longer than the median one, in 65536ths. */
function clipFactors(updates) {
  const norms = updates.map((update) => sumOfProducts(update.length, (at) => BigInt(update[at]) ** 2n));
  const ordered = [...norms].sort(ascending);
  const median = ordered[(norms.length - 1) >> 1];
  return norms.map((norm) => (norm <= median ? 65536n : squareRoot((median << 32n) / norm)));
}

const ascending = (one, other) => (one < other ? -1 : one > other ? 1 : 0);

/** How far each update is from those that are nearest to it: square distances, added up. */
function ranksOf(updates, hostile) {
  const count = updates.length;
  if (count <= 2 * hostile) throw new Error("too few updates to leave out so many");
  return updates.map((one, place) => {
    const apart = updates
      .filter((_, other) => other !== place)
      .map((other) => sumOfProducts(one.length, (at) => BigInt(one[at] - other[at]) ** 2n));
    const kept = apart.sort(ascending).slice(0, count - hostile - 1);
    return kept.reduce((sum, square) => sum + square, 0n);
  });
}

/** The updates that are nearest to the others: all but so many. */
function nearest(updates, hostile) {
  const ranks = ranksOf(updates, hostile).map((rank, place) => [rank, place]);
  ranks.sort((one, other) => ascending(one[0], other[0]) || one[1] - other[1]);
  return ranks.slice(0, updates.length - hostile).map(([, place]) => updates[place]);
}

/** The rule's aggregate, coordinate by coordinate; floor is toward minus infinity. */
export function aggregate(rule, updates, weights) {
  const total = weights.reduce((sum, weight) => sum + weight, 0n);
  const factors = rule.name === "clipped_mean" ? clipFactors(updates) : [];
  const chosen = rule.name === "multi_krum" ? nearest(updates, rule.argument) : [];
  const sorted = (at) => updates.map((update) => update[at]).sort((one, other) => one - other);
  return Int32Array.from(updates[0], (_, at) => {
    if (rule.name === "mean") {
      const sum = updates.reduce((so, update, site) => so + BigInt(update[at]) * weights[site], 0n);
      return Number(floorDivide(sum, total));
    }
    if (rule.name === "clipped_mean") {
      const clipped = (update, site) => floorDivide(BigInt(update[at]) * factors[site], 65536n);
      const sum = updates.reduce((so, update, site) => so + clipped(update, site) * weights[site], 0n);
      return Number(floorDivide(sum, total));
    }
    if (rule.name === "multi_krum") {
      return Math.floor(chosen.reduce((sum, update) => sum + update[at], 0) / chosen.length);
    }
    const values = sorted(at);
    if (rule.name === "median") {
      return Math.floor((values[(values.length - 1) >> 1] + values[values.length >> 1]) / 2);
    }
    if (rule.name === "trimmed_mean") {
      const kept = values.slice(rule.argument, values.length - rule.argument);
      if (!kept.length) throw new Error("too few updates for this trim");
      return Math.floor(kept.reduce((sum, value) => sum + value, 0) / kept.length);
    }
    throw new Error(`rule ${rule.name} is not known here`);
  });
}

const PAGE_VALUES = 32;
const word = (value) => number(BigInt.asUintN(256, value));

/** Sums over chunks, level by level in pages of 32 values: their total and the root of all pages. */
async function sumTree(size, product) {
  let level = [];
  for (let start = 0; start < size; start += CHUNK_BYTES / 4) {
    const end = Math.min(size, start + CHUNK_BYTES / 4);
    let sum = 0n;
    for (let at = start; at < end; ++at) sum += product(at);
    level.push(sum);
  }
  const pages = [];
  for (;;) {
    const above = [];
    for (let start = 0; start < level.length; start += PAGE_VALUES) {
      const values = level.slice(start, start + PAGE_VALUES);
      above.push(values.reduce((sum, value) => sum + value, 0n));
      while (values.length < PAGE_VALUES) values.push(0n);
      pages.push(concat(...values.map(word)));
    }
    if (above.length === 1) return { total: above[0], root: await treeHash(pages) };
    level = above;
  }
}

/** What a round commits to by name: the root over the rows of each. */
export async function namedRoots(rule, scoring, updates, weights, base, model) {
  const size = base.length;
  const rows = {};
  const normed = (tree) => concat(word(tree.total), tree.root);
  if (rule.name === "clipped_mean") {
    rows.norms = [];
    for (const one of updates) rows.norms.push(normed(await sumTree(size, (at) => BigInt(one[at]) ** 2n)));
  }
  if (rule.name === "multi_krum") {
    rows.distances = [];
    for (let i = 0; i < updates.length; ++i) {
      for (let j = i + 1; j < updates.length; ++j) {
        const apart = (at) => BigInt(updates[i][at] - updates[j][at]) ** 2n;
        rows.distances.push(normed(await sumTree(size, apart)));
      }
    }
    rows.ranks = ranksOf(updates, rule.argument).map(word);
  }
  if (scoring.name === "projection") {
    const factors = rule.name === "clipped_mean" ? clipFactors(updates) : updates.map(() => 65536n);
    let running = 0n;
    rows.scores = [];
    for (const [site, one] of updates.entries()) {
      const tree = await sumTree(size, (at) => BigInt(one[at]) * BigInt(model[at] - base[at]));
      const worth = weights[site] * factors[site] * tree.total;
      const score = worth > 0n ? worth >> 16n : 0n;
      running += score;
      rows.scores.push(concat(normed(tree), word(score), word(running)));
    }
  }
  const roots = {};
  for (const name of Object.keys(rows)) roots[name] = toHex(await treeHash(rows[name]));
  return roots;
}

/** The bytes of a sum of counts, each within the study's bound. */
export function sumOf(updates, bound) {
  const bytes = new Uint8Array(8 * updates[0].length);
  const view = new DataView(bytes.buffer);
  updates[0].forEach((_, at) => {
    const total = updates.reduce((sum, update) => {
      if (update[at] > bound || update[at] < -bound) throw new Error(`coordinate ${at} exceeds ${bound}`);
      return sum + update[at];
    }, 0n);
    view.setBigInt64(8 * at, total, true);
  });
  return bytes;
}

/** The new model's bytes: the base model plus the aggregate. */
export function addModel(base, step) {
  const bytes = new Uint8Array(4 * base.length);
  const view = new DataView(bytes.buffer);
  base.forEach((value, at) => {
    const sum = value + step[at];
    if (sum < -(2 ** 31) || sum >= 2 ** 31) throw new Error(`coordinate ${at} leaves the range`);
    view.setInt32(4 * at, sum, true);
  });
  return bytes;
}

// "Check signatures, roots and proofs": downloads a round's bytes and recomputes them here.
import * as p from "./protocol.js";

const VECTOR_BYTES_MAX = 8 << 20; // of one vector; larger ones are left to the replay
const DOWNLOAD_BYTES_MAX = 64 << 20;
const AGGREGATE_MAX = 4e6; // coordinates times sites that are recomputed here
const short = (bytes) => p.toHex(bytes).slice(0, 18) + "…";

/** One line of the result; a check that throws has failed, with the error's words. */
class Checks {
  constructor(list) {
    this.list = list;
    this.failed = this.held = this.left = 0;
  }
  line(kind, sign, said, title, detail) {
    const item = document.createElement("li");
    item.className = kind;
    const mark = document.createElement("span");
    mark.className = "sign";
    mark.textContent = sign;
    mark.setAttribute("aria-hidden", "true");
    const body = document.createElement("div");
    body.append(said + title);
    if (detail) {
      const small = document.createElement("small");
      small.textContent = detail;
      body.append(small);
    }
    item.append(mark, body);
    this.list.append(item);
  }
  async holds(title, question) {
    try {
      const detail = await question();
      this.held++;
      this.line("holds", "✓", "", title, detail);
      return true;
    } catch (error) {
      this.failed++;
      this.line("fails", "✗", "Does not hold: ", title, error.message);
      return false;
    }
  }
  skipped(title, why) {
    this.left++;
    this.line("skipped", "–", "Not checked: ", title, why);
  }
}

function demand(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}
function same(computed, stated, what) {
  demand(p.equal(computed, stated), `${what}: ${p.toHex(computed)} follows, ${p.toHex(stated)} is recorded`);
}

async function download(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`the server has no such object (status ${answer.status})`);
  return new Uint8Array(await answer.arrayBuffer());
}

/** Whether an object is encrypted, and the server has no key to it. */
async function isSealed(url) {
  return (await fetch(url, { method: "HEAD" })).status === 403;
}

const object = (source, cid) => `${source.objects}${encodeURIComponent(cid)}/raw`;

/** Recompute a round from the bytes at `source.bytes`; objects are below `source.objects`. */
export async function checkRound(source, list) {
  const checks = new Checks(list);
  const raw = await (await fetch(source.bytes)).json();
  if (raw.error) throw new Error(raw.error);
  const study = p.fromHex(raw.study);
  let closing, previous, entries, manifest;

  await checks.holds("The study's parameters hash to its id", () => {
    same(p.keccak(p.fromHex(raw.params)), study, "study id");
    return `keccak-256 of ${raw.params.length / 2 - 1} bytes`;
  });
  const readable = await checks.holds("The closing in the event is complete", () => {
    closing = p.readClosing(p.fromHex(raw.closing));
    previous = p.readClosing(p.fromHex(raw.previous));
    return `256 bytes; commitment ${short(closing.commitment)}`;
  });
  if (!readable) return checks;
  if (raw.commitment) {
    await checks.holds("The contract's commitment is the hash of this closing", () => {
      same(closing.commitment, p.fromHex(raw.commitment), "commitment");
      return raw.commitmentSource;
    });
  } else {
    checks.skipped("the contract's own commitment", raw.commitmentSource);
  }
  if (raw.entries) {
    await checks.holds("Contributions root, count and total weight follow from the entries in the transaction", async () => {
      entries = p.unpackEntries(p.fromHex(raw.entries));
      const sites = entries.map((entry) => entry.site);
      demand(sites.every((site, at) => !at || sites[at - 1] < site), "sites do not ascend");
      demand(BigInt(entries.length) === closing.count, `${entries.length} entries, the record says ${closing.count}`);
      const weight = entries.reduce((sum, entry) => sum + entry.weight, 0n);
      demand(weight === closing.totalWeight, `weights sum to ${weight}, the record says ${closing.totalWeight}`);
      same(await p.treeHash(entries.map((entry) => entry.packed)), closing.contributions, "contributions root");
      return `${entries.length} entries of 157 bytes, SHA-256 tree of RFC 9162`;
    });
  }
  await checks.holds("The manifest has the digest in the record", async () => {
    const cid = p.cidOf(closing.manifest);
    const bytes = await download(object(source, cid));
    same(await p.sha256(bytes), closing.manifest, "SHA-256");
    const words = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    manifest = JSON.parse(words);
    demand(p.canonical(manifest) === words, "it is not in RFC 8785 form");
    return `${bytes.length} bytes, ${cid}`;
  });
  if (manifest) await checkManifest(checks, raw, closing, previous, manifest, entries);
  const signed = entries ?? (manifest && p.unpackEntries(p.concat(...manifest.contributions.map(p.packEntry))));
  if (signed) {
    await checks.holds(`All ${signed.length} contributions are signed by their sites (EIP-712)`, () => {
      const domain = { chainId: raw.chainId, contract: raw.contract };
      for (const entry of signed) {
        const digest = p.signingDigest(domain, study, raw.round, previous.model, entry);
        let found;
        try {
          found = p.signer(digest, entry.signature);
        } catch (error) {
          throw new Error(`${entry.site}: ${error.message}`);
        }
        demand(found === entry.site, `${entry.site}: the signature is by ${found}`);
      }
      return "secp256k1 recovery over the keccak-256 digest of each contribution";
    });
  }
  if (manifest) await checkVectors(checks, source, raw, closing, previous, manifest);
  checks.skipped("why a site was left out", "no bytes prove it: it is the coordinator's word");
  checks.skipped("that the chain holds these bytes", `compare block ${raw.block.number}, ${raw.block.hash}, with a node you trust`);
  return checks;
}

async function checkManifest(checks, raw, closing, previous, manifest, entries) {
  await checks.holds("The manifest speaks of this study, round, contract and coordinator", () => {
    const stated = [manifest.protocol, manifest.study, manifest.round, manifest.contract, manifest.chainId, manifest.coordinator];
    const wanted = ["wardround/2", raw.study, raw.round, raw.contract, raw.chainId, closing.coordinator];
    wanted.forEach((value, at) => demand(stated[at] === value, `it says ${stated[at]}, not ${value}`));
    same(p.fromHex(manifest.base.root), previous.model, "base model");
    same(p.fromHex(manifest.model.root), closing.model, "model");
    return "base and new model have the roots in the records";
  });
  await checks.holds("The manifest lists the recorded contributions", async () => {
    const packed = manifest.contributions.map(p.packEntry);
    same(await p.treeHash(packed), closing.contributions, "contributions root");
    if (entries) demand(packed.every((entry, at) => p.equal(entry, entries[at].packed)), "an entry differs from the transaction's");
    return entries ? "byte for byte those in the transaction" : "this study records roots; entries are in the manifest only";
  });
  await checks.holds("Commitments root follows from the manifest's names", async () => {
    const roots = Object.fromEntries(Object.entries(manifest.commitments).map(([name, one]) => [name, one.root]));
    same(await p.commitmentsRoot(roots), closing.commitments, "commitments root");
    return `${Object.keys(manifest.commitments).length} names`;
  });
}

async function checkVectors(checks, source, raw, closing, previous, manifest) {
  const width = p.widthOf(manifest.rule);
  const size = width * manifest.parameters;
  const count = manifest.contributions.length;
  await checks.holds(`All ${count} reports have their signed digests`, async () => {
    for (const row of manifest.contributions) {
      const bytes = await download(object(source, row.report.cid));
      same(await p.sha256(bytes), p.fromHex(row.report.sha256), `report of ${row.site}`);
    }
    return "SHA-256";
  });
  if (size > VECTOR_BYTES_MAX || size * (count + 2) > DOWNLOAD_BYTES_MAX) {
    checks.skipped("updates and models", `${(size / 1e6).toFixed(1)} MB each are too much for a page; “Replay the round” reads them`);
    return;
  }
  if (await isSealed(object(source, manifest.model.cid))) {
    checks.skipped("updates and models", "they are encrypted, and this explorer has no key to them");
    return;
  }
  const updates = [];
  let base, model;
  await checks.holds("Updates and both models have their signed and recorded roots", async () => {
    for (const row of manifest.contributions) {
      const bytes = await download(object(source, row.update.cid));
      same(await p.vectorRoot(bytes), p.fromHex(row.update.root), `update of ${row.site}`);
      updates.push(p.vector(bytes, manifest.parameters, width));
    }
    base = await download(object(source, manifest.base.cid));
    same(await p.vectorRoot(base), previous.model, "base model");
    model = await download(object(source, manifest.model.cid));
    same(await p.vectorRoot(model), closing.model, "model");
    return `${count} updates and 2 models of ${size} bytes, downloaded and hashed`;
  });
  if (!model) return;
  if (count * manifest.parameters > AGGREGATE_MAX) {
    checks.skipped("that the model follows from the updates", "too many coordinates for a page; “Replay the round” recomputes them");
    return;
  }
  const isSum = manifest.rule.name === "sum";
  const result = isSum ? "the sum" : `the base plus the ${manifest.rule.name.replace("_", " ")}`;
  await checks.holds(`The new model is ${result} of the updates`, () => {
    const weights = manifest.contributions.map((row) => BigInt(row.weight));
    const computed = isSum
      ? p.sumOf(updates, p.boundOf(p.fromHex(raw.params)))
      : p.addModel(p.vector(base, manifest.parameters), p.aggregate(manifest.rule, updates, weights));
    demand(p.equal(computed, model), "the recomputed model has other bytes");
    return `${manifest.parameters} coordinates in integers, every byte equal`;
  });
  const names = Object.keys(manifest.commitments);
  const rewarded = manifest.scoring.name === "projection" || names.length;
  if (isSum || !rewarded) return;
  await checks.holds(`The ${names.join(", ")} follow from updates and models`, async () => {
    const weights = manifest.contributions.map((row) => BigInt(row.weight));
    const [from, to] = [base, model].map((bytes) => p.vector(bytes, manifest.parameters));
    const roots = await p.namedRoots(manifest.rule, manifest.scoring, updates, weights, from, to);
    demand(Object.keys(roots).sort().join() === names.sort().join(), `the study has ${Object.keys(roots)}`);
    names.forEach((name) => demand(roots[name] === manifest.commitments[name].root, `the ${name} have another root`));
    return "recomputed in integers; their roots are those committed to";
  });
}

const button = document.querySelector("#check");
button?.addEventListener("click", async () => {
  const box = document.querySelector("#check-result");
  const list = box.querySelector("ul");
  const verdict = box.querySelector(".verdict");
  const set = (kind, words) => {
    verdict.className = `verdict ${kind}`;
    verdict.textContent = words;
  };
  list.replaceChildren();
  box.hidden = false;
  button.disabled = true;
  set("busy", "Downloading and recomputing in this browser …");
  const started = performance.now();
  try {
    const { held, failed, left } = await checkRound(button.dataset, list);
    const took = `${Math.max(1, Math.round(performance.now() - started))} ms in this browser`;
    if (failed) set("fails", `✗ ${failed} of ${held + failed} checks do not hold: what is shown here was altered, or never followed. (${took})`);
    else set("holds", `✓ All ${held} checks hold (${took}). ${left} things were not checked; they are named below.`);
  } catch (error) {
    set("fails", `✗ The check could not finish: ${error.message}`);
  } finally {
    button.disabled = false;
  }
});

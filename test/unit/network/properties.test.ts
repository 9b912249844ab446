import { expect, it } from "vitest";
import { isGlobalUnicast } from "../../../src/network/special-purpose.js";
import {
  isProblem,
  judgeAddress,
  judgeName,
  parseAddress,
  policyFromFlags,
  type NetworkPolicy,
  type PolicyFlags,
} from "../../../src/network/index.js";
import { matchesName, parseRule } from "../../../src/network/rules.js";
import { randomFrom } from "../workspace/diff/random-trees.js";
import { pick, type Random } from "./fuzzer.js";
import { address } from "./support.js";

const FIRST_SEED = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
const HOST = { addresses: [], links: [] };

/** Few labels, so that names and rules meet often. */
function someName(random: Random): string {
  const labels = Array.from({ length: 2 + random(3) }, () => pick(["a", "b", "aa", "ab", "x-y"], random));
  return labels.join(".");
}

function someAddress(random: Random): string {
  const first = pick([1, 8, 10, 93, 100, 127, 169, 172, 192, 198, 203, 224, 250], random);
  return [first, pick([0, 1, 16, 18, 64, 168, 254], random), random(3), random(4)].join(".");
}

function someRule(random: Random): string {
  const ports = random(3) === 0 ? pick([":443", ":80", ":1-100"], random) : "";
  const kind = random(5);
  if (kind === 0) return `*${ports}`;
  if (kind === 1) return `${pick(["8.0.0.0/7", "1.0.0.0/8", "93.0.0.0/9"], random)}${ports}`;
  return `${random(2) === 0 ? "*." : ""}${someName(random)}${ports}`;
}

it("fits names as comparing their labels one by one does", () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + 2000; seed++) {
    const random = randomFrom(seed);
    const [name, parent] = [someName(random), someName(random)];
    const labels = name.split(".").reverse();
    const wanted = parent.split(".").reverse();
    const isPrefix = wanted.every((label, at) => labels[at] === label);
    const [exact, below] = [parseRule(parent), parseRule(`*.${parent}`)];
    if (isProblem(exact) || isProblem(below)) throw new Error(`SEED=${seed} ${parent}`);
    expect(matchesName(exact, name), `SEED=${seed}`).toBe(isPrefix && labels.length === wanted.length);
    expect(matchesName(below, name), `SEED=${seed}`).toBe(isPrefix && labels.length > wanted.length);
  }
});

/** All that two policies say about some names and addresses. */
function answers(policy: NetworkPolicy, seed: number): boolean[] {
  const random = randomFrom(seed);
  return Array.from({ length: 20 }, () => {
    const name = someName(random);
    const names = random(2) === 0 ? [name] : [];
    const target = { address: address(someAddress(random)), port: pick([25, 80, 443], random), names };
    return [judgeName(policy, name).allowed, judgeAddress(policy, target, HOST).allowed];
  }).flat();
}

it("allows no more with another deny rule, nor with an allow rule less", () => {
  let allowed = 0;
  for (let seed = FIRST_SEED; seed < FIRST_SEED + 300; seed++) {
    const random = randomFrom(seed);
    const list = (): string[] => Array.from({ length: 1 + random(4) }, () => someRule(random));
    const flags = {
      allow: list(),
      deny: list(),
      allowCidrs: ["10.0.0.0/8", "192.168.0.0/16"],
    } satisfies PolicyFlags;
    const before = answers(policyFromFlags(flags), seed);
    const stricter = [
      { ...flags, deny: [...flags.deny, someRule(random)] },
      { ...flags, allow: flags.allow.slice(1) },
      { ...flags, allowCidrs: flags.allowCidrs.slice(1) },
      { ...flags, mode: "off", allow: [], deny: [], allowCidrs: [] },
    ];
    for (const one of stricter) {
      const after = answers(policyFromFlags(one), seed);
      after.forEach((is, at) => {
        if (is) expect(before[at], `SEED=${seed}`).toBe(true);
      });
    }
    allowed += before.filter(Boolean).length;
  }
  // The policies are such as allow something.
  expect(allowed).toBeGreaterThan(1000);
});

it("judges an address as it judges what it carries, in every wrapping", () => {
  const plain = policyFromFlags({ mode: "egress" });
  const judge = (text: string): boolean =>
    judgeAddress(plain, { address: address(text), port: 443, names: [] }, HOST).allowed;
  let open = 0;
  for (let seed = FIRST_SEED; seed < FIRST_SEED + 1000; seed++) {
    const inner = someAddress(randomFrom(seed));
    const bytes = parseAddress(inner)?.bytes ?? [];
    const hex = Buffer.from(bytes).toString("hex");
    const [high, low] = [hex.slice(0, 4), hex.slice(4)];
    const is = judge(inner);
    if (is) expect(isGlobalUnicast(address(inner)), inner).toBe(true);
    // The same place in other words, or its translation.
    for (const text of [
      `::ffff:${inner}`,
      `::FFFF:${high}:${low}`,
      `64:ff9b::${inner}`,
      `2a00::5efe:${inner}`,
    ]) {
      expect(judge(text), text).toBe(is);
    }
    // Nobody's way to it any more.
    const tunnels = [
      `::${inner}`,
      `2002:${high}:${low}::1`,
      `64:ff9b:1::${inner}`,
      `2001:0:${high}:${low}::1`,
    ];
    for (const text of tunnels) expect(judge(text), text).toBe(false);
    if (is) open++;
  }
  expect(open).toBeGreaterThan(100);
});

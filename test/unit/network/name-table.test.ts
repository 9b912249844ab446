import { describe, expect, it } from "vitest";
import { NameTable } from "../../../src/network/name-table.js";
import { listsName } from "../../../src/network/resolver.js";
import { LIMITS } from "../../../src/protocol/index.js";
import { address } from "./support.js";

const one = address("203.0.114.1");

describe("which names led to an address", () => {
  it("is known, the newest first, and of other addresses nothing", () => {
    const table = new NameTable();
    table.add("a.test", [one, address("2a00::1")]);
    table.add("b.test", [one]);
    table.add("a.test", [one]);
    expect(table.namesOf(one)).toEqual(["a.test", "b.test"]);
    expect(table.namesOf(address("::ffff:203.0.114.1"))).toEqual(["a.test", "b.test"]);
    expect(table.namesOf(address("2a00::1"))).toEqual(["a.test"]);
    expect(table.namesOf(address("203.0.114.2"))).toEqual([]);
    expect(table.pairCount).toBe(3);
  });

  it("is forgotten ten minutes after it was told or used last", () => {
    let nowMs = 0;
    const table = new NameTable(() => nowMs);
    table.add("a.test", [one]);
    for (let count = 0; count < 5; count += 1) {
      nowMs += LIMITS.networkNameKeptMs;
      expect(table.namesOf(one)).toEqual(["a.test"]);
    }
    nowMs += LIMITS.networkNameKeptMs + 1;
    expect(table.namesOf(one)).toEqual([]);
    expect(table.pairCount).toBe(0);
  });

  it("is bounded in both directions", () => {
    const table = new NameTable();
    for (let count = 0; count < 1000; count += 1) table.add(`n${count}.test`, [one]);
    expect(table.namesOf(one)).toHaveLength(LIMITS.networkNamesPerAddress);
    expect(table.namesOf(one)[0]).toBe("n999.test");
    for (let count = 0; count < 20_000; count += 1) {
      table.add("many.test", [address(`2a00::${count.toString(16)}`)]);
      if (count % 100 === 0) table.namesOf(one);
    }
    expect(table.pairCount).toBeLessThanOrEqual(LIMITS.networkNamePairs);
    expect(table.namesOf(one)).toHaveLength(LIMITS.networkNamesPerAddress);
    expect(table.namesOf(address("2a00::1"))).toEqual([]);
  });
});

describe("a hosts file", () => {
  it("lists the names on its lines, not those in comments or the addresses", () => {
    const hosts = "127.0.0.1 localhost\n203.0.114.1\tMirror.test alias # other.test\n#203.0.114.2 no.test\n";
    expect(["mirror.test", "alias", "localhost"].map((name) => listsName(hosts, name))).toEqual([
      true,
      true,
      true,
    ]);
    expect(["other.test", "no.test", "203.0.114.1", ""].map((name) => listsName(hosts, name))).not.toContain(
      true,
    );
  });
});

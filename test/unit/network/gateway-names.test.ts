import { describe, expect, it } from "vitest";
import { PLAIN_EGRESS, SharedLookUp, type Gateway } from "../../../src/network/index.js";
import { LIMITS } from "../../../src/protocol/index.js";
import { bytesOf, lookAtNothing, makeGateway, WEB } from "./gateway-support.js";

describe("names through the gateway", () => {
  const gatewayOf = (answers: readonly string[], flags = {}): Gateway =>
    makeGateway({ flags, names: { "a.test": answers } });

  it("give the addresses of one family that policy lets through", async () => {
    const gateway = gatewayOf([
      WEB,
      "2a00:1450:4001::5",
      "10.1.2.3",
      "127.0.0.1",
      "::ffff:127.0.0.1",
      "64:ff9b::7f00:1",
    ]);
    expect(await gateway.resolve("a.test", "ipv4")).toMatchObject({ addresses: [bytesOf(WEB)] });
    expect(await gateway.resolve("a.test", "ipv6")).toMatchObject({
      addresses: [bytesOf("2a00:1450:4001::5")],
    });
    expect(await gatewayOf([WEB]).resolve("a.test", "ipv6")).toMatchObject({ addresses: [] });
    expect(await gateway.resolve("b.test", "ipv4")).toEqual({ failure: "not-found" });
  });

  it.each([
    [["127.0.0.1"]],
    [["10.0.0.1"]],
    [["169.254.169.254"]],
    [["::1"]],
    [["10.0.2.2"]],
    [["0x7f.1"]],
    [["not an address"]],
  ])("refuse or drop a resolver's answer of %j", async (answers) => {
    const gateway = gatewayOf(answers);
    const answer = await gateway.resolve("a.test", "ipv4");
    const isOdd = answers[0] === "0x7f.1" || answers[0] === "not an address";
    expect(answer).toEqual(isOdd ? { addresses: [], ttlSeconds: 60 } : { failure: "refused" });
  });

  it("open the host's alias only with a port of it, whatever a resolver says of that name", async () => {
    const names = { "host.pyro.internal": [WEB] };
    expect(await makeGateway({ names }).resolve("host.pyro.internal", "ipv4")).toEqual({
      failure: "refused",
    });
    const opened = makeGateway({ names, flags: { mode: "egress", allowHostPorts: [8000] } });
    expect(await opened.resolve("host.pyro.internal", "ipv4")).toMatchObject({
      addresses: [bytesOf("10.0.2.2")],
    });
    expect(await opened.resolve("host.pyro.internal", "ipv6")).toMatchObject({ addresses: [] });
  });

  it("tell addresses of names that only some port of is allowed", async () => {
    const gateway = gatewayOf([WEB], { mode: "egress", allow: ["a.test:5432"] });
    expect(await gateway.resolve("a.test", "ipv4")).toMatchObject({ addresses: [bytesOf(WEB)] });
    const denied = gatewayOf([WEB], { mode: "egress", deny: [`${WEB}:443`, `${WEB}:80`] });
    expect(await denied.resolve("a.test", "ipv4")).toMatchObject({ addresses: [bytesOf(WEB)] });
  });

  it("are asked for once at a time, and bounded whatever the resolver does", async () => {
    const asked: string[] = [];
    const lookUp = new SharedLookUp((name) => {
      asked.push(name);
      if (name.startsWith("never")) return new Promise(() => undefined);
      return Promise.resolve(Array.from({ length: 10_000 }, (_, index) => `203.0.114.${index % 256}`));
    });
    const options = { policy: PLAIN_EGRESS, lookUp, lookUpMs: 60 };
    const { record } = makeGateway();
    const { Gateway: Real } = await import("../../../src/network/index.js");
    const gateway = new Real({ ...options, record, look: lookAtNothing });
    const many = await Promise.all([
      gateway.resolve("many.test", "ipv4"),
      gateway.resolve("many.test", "ipv6"),
    ]);
    expect(many[0]).toMatchObject({ addresses: { length: LIMITS.networkAddressesPerName } });
    expect(asked).toEqual(["many.test"]);
    const never = await Promise.all(
      Array.from({ length: 200 }, (_, index) => gateway.resolve(`never${index}.test`, "ipv4")),
    );
    expect(never.every((answer) => "failure" in answer && answer.failure === "failed")).toBe(true);
    // Two threads are lost to this workspace, and one is left for others.
    expect(asked.filter((name) => name.startsWith("never"))).toHaveLength(LIMITS.networkLookUpsPerWorkspace);
    const other = new Real({ ...options, record, look: lookAtNothing });
    expect(await other.resolve("many.test", "ipv4")).toMatchObject({ ttlSeconds: 60 });
  });

  it("fail with what the resolver failed with", async () => {
    const lookUp = new SharedLookUp(() =>
      Promise.reject(Object.assign(new Error("again"), { code: "EAI_AGAIN" })),
    );
    const { Gateway: Real } = await import("../../../src/network/index.js");
    const gateway = new Real({
      policy: PLAIN_EGRESS,
      lookUp,
      record: makeGateway().record,
      look: lookAtNothing,
    });
    expect(await gateway.resolve("a.test", "ipv4")).toEqual({ failure: "failed" });
    expect(gateway.record.entries).toMatchObject([{ kind: "name", decision: "failed", name: "a.test" }]);
  });

  it("that are no names are refused before any resolver hears of them", async () => {
    let asked = 0;
    const lookUp = new SharedLookUp(() => {
      asked += 1;
      return Promise.resolve([WEB]);
    });
    const { Gateway: Real } = await import("../../../src/network/index.js");
    const gateway = new Real({
      policy: PLAIN_EGRESS,
      lookUp,
      record: makeGateway().record,
      look: lookAtNothing,
    });
    for (const name of [
      "evil\0.test",
      "127.0.0.1",
      "0x7f.1",
      "a b",
      "ａ.test",
      "",
      "localhost",
      "intranet",
      "-a.test",
    ]) {
      expect(await gateway.resolve(name, "ipv4")).toEqual({ failure: "refused" });
    }
    expect(asked).toBe(0);
  });
});

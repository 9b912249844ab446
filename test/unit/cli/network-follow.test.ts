import { ConnectError } from "@connectrpc/connect";
import { expect, test, vi } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import { cli, type CliSetup } from "../../fakes/cli-host.js";
import { asWireError, startFakeDaemon, type FakeScript } from "../../fakes/fake-daemon.js";
import { temporaryState } from "../../fakes/state-directory.js";

const OPEN = {
  ...{ sequence: 7n, atMs: 1_800_000_000_000n, kind: "connection", decision: "open" },
  ...{ name: "example.org", address: "203.0.114.7", port: 443, openedBy: "command 3" },
};
const ENDED = { ...OPEN, decision: "allowed", bytesUp: 10n, bytesDown: 2_000n, durationMs: 5n };

/** A daemon of whose workspace a connection is made, and ends; then it is deleted. */
function connecting(): {
  readonly script: FakeScript;
  readonly asked: [generation: bigint, waitMs: number][];
} {
  const asked: [bigint, number][] = [];
  const answers = [
    { generation: 10n, entries: [{ ...OPEN, sequence: 6n }] },
    { generation: 11n, entries: [OPEN] },
    { generation: 11n, entries: [] },
    { generation: 12n, entries: [ENDED] },
  ];
  const get: NonNullable<FakeScript["network"]>["get"] = ({ afterGeneration, waitMs }) => {
    asked.push([afterGeneration, waitMs]);
    const answer = answers.shift();
    if (answer !== undefined) return { workspaceId: "ws-1", ...answer };
    throw asWireError(
      new PyroError("WORKSPACE_NOT_FOUND", "no workspace is called ws-1", { hint: "list them" }),
    );
  };
  return { script: { network: { get } }, asked };
}

async function follow(script: FakeScript, args: readonly string[], setup: CliSetup = {}) {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path, script);
  return await cli(["--state-dir", state.path, "workspace", "network", "show", "ws-1", ...args], setup);
}

test("--follow tells what comes from now on, an entry again when it changes, until the workspace is gone", async () => {
  const { script, asked } = connecting();
  const { status, stdout, stderr } = await follow(script, ["--follow"]);
  expect(stdout.split("\n")).toEqual([
    expect.stringMatching(/^\S+Z {2}open {2}example\.org 203\.0\.114\.7:443 {2}command 3 {2}/),
    expect.stringMatching(
      /^\S+Z {2}allowed {2}example\.org 203\.0\.114\.7:443 {2}command 3 {2}10 B up, 2\.0 kB down$/,
    ),
    "",
  ]);
  expect([status, stderr]).toEqual([1, expect.stringContaining("WORKSPACE_NOT_FOUND")]);
  expect(asked.map(([generation]) => generation)).toEqual([0n, 10n, 11n, 11n, 12n]);
  expect(asked[1]?.[1]).toBeGreaterThan(1_000);
});

test("with --json it is an object per line", async () => {
  const { stdout } = await follow(connecting().script, ["--follow", "--json"]);
  const [open, ended] = stdout.split("\n", 2).map((line) => JSON.parse(line) as unknown);
  expect(open).toMatchObject({ sequence: 7, decision: "open", duration_ms: null });
  expect(ended).toMatchObject({ sequence: 7, decision: "allowed", bytes_down: 2_000, duration_ms: 5 });
});

test("Ctrl-C leaves it, with the status of that", async () => {
  const waits = vi.fn();
  const get: NonNullable<FakeScript["network"]>["get"] = async ({ afterGeneration }, { signal }) => {
    if (afterGeneration === 0n) return { workspaceId: "ws-1", generation: 1n };
    waits();
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    throw new ConnectError("left");
  };
  const during: CliSetup["during"] = async (send) => {
    await vi.waitFor(() => expect(waits).toHaveBeenCalled());
    send("SIGINT");
  };
  expect(await follow({ network: { get } }, ["--follow"], { during })).toMatchObject({
    status: 130,
    stdout: "",
    stderr: "",
  });
});

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";
import {
  eventually,
  json,
  machinesOf,
  processes,
  pyro,
  PYRO,
  testState,
  type TestState,
} from "../vm/support.js";
import type { Checkout } from "./checkout.js";
import { CHAT_HOSTS, type ChatHost, type HostSetup, type ReadResult, type ServerPlace } from "./hosts.js";
import { HOMES, installHosts } from "./installed.js";
import { readingOf, type Reading } from "./reading.js";
import { runHost } from "./run-host.js";

/** Each host by its name, as `it.for` takes them. */
export const EACH_HOST = Object.values(CHAT_HOSTS).map((host) => [host.name, host] as const);

/** What the tests of one file have in common: a state directory for all, a host's home for each. */
export interface HostSuite {
  /** There while tests run. */
  readonly state: () => TestState;
  /**
   * Runs the host in the checkout, where it starts `pyro mcp serve` with the flags; nothing of either runs any more
   * afterwards.
   */
  readonly run: (
    host: ChatHost,
    checkout: Checkout,
    flags: readonly string[],
    script: (reading: Reading) => Promise<string>,
  ) => Promise<void>;
  /** Runs the host in the checkout with a server that runs already; nothing of the host runs any more afterwards. */
  readonly runAt: (
    host: ChatHost,
    checkout: Checkout,
    server: ServerPlace,
    script: (reading: Reading) => Promise<string>,
  ) => Promise<void>;
  readonly workspaces: () => Promise<Record<string, unknown>[]>;
  /** Fails where a workspace or a machine is left. */
  readonly leavesNothing: () => Promise<void>;
}

/** Sets up what a file's tests need, and takes it away; they are skipped where the hosts cannot be installed. */
export function hostSuite(): HostSuite {
  let missing: string | undefined;
  let state: TestState;
  let home: string;
  beforeAll(async () => {
    state = await testState();
    missing = await installHosts();
  });
  beforeEach(async ({ skip }) => {
    if (missing !== undefined) skip(missing);
    await mkdir(HOMES, { recursive: true });
    home = await mkdtemp(join(HOMES, "h-"));
    return () => rm(home, { recursive: true, force: true });
  });
  afterEach(async () => {
    // Only where a test failed there are any.
    for (const { workspace_id } of await workspaces())
      await pyro(["workspace", "delete", String(workspace_id)], { stateDir: state.path });
  });
  afterAll(() => state[Symbol.asyncDispose]());

  async function workspaces(): Promise<Record<string, unknown>[]> {
    const listed = await pyro(["workspace", "list", "--json"], { stateDir: state.path });
    return json(listed)["workspaces"] as Record<string, unknown>[];
  }

  const runWith = async (
    host: ChatHost,
    { path: checkout }: Checkout,
    server: HostSetup["server"],
    script: (reading: Reading) => Promise<string>,
  ): Promise<void> => {
    await runHost(host, {
      ...{ home, checkout, server, serverEnv: { PYRO_POOL: "0" } },
      script: (model) => script(readingOf(host, model)),
    });
    await eventually(`${host.name} has ended`, async () =>
      (await processes()).every(({ line }) => !line.includes(home)),
    );
  };

  return {
    state: () => state,
    run: async (host, checkout, flags, script) => {
      const serve = [PYRO, "--state-dir", state.path, "mcp", "serve", ...flags];
      await runWith(host, checkout, [process.execPath, ...serve], script);
      await eventually(`the server of ${host.name} has ended`, async () =>
        (await processes()).every(({ cwd }) => !cwd.startsWith(checkout.path)),
      );
    },
    runAt: runWith,
    workspaces,
    leavesNothing: async () => {
      expect(await workspaces()).toEqual([]);
      expect(await machinesOf(state.path)).toEqual([]);
    },
  };
}

/** What the model is shown of a record: its text, or its fields. */
export function seesRecord(host: ChatHost, { words }: ReadResult, text: RegExp, fields: object): void {
  if (host.showsRecordsAs === "text") expect(words).toMatch(text);
  else expect(JSON.parse(words)).toMatchObject(fields);
}

import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Pyro } from "../../src/sdk/index.js";
import { FAILPOINTS, prefixOf } from "../failpoints.js";
import { violations } from "./invariants.js";
import {
  client,
  daemonWithFailpoint,
  eventually,
  machinesOf,
  testState,
  type FaultyDaemon,
  type TestState,
} from "./support.js";

const NAME = "w";

let state: TestState;
/** Asked from this process: starting the command line for each step would take half of the time. */
let pyro: Pyro;
beforeAll(async () => {
  state = await testState();
  pyro = await client(state.path);
  // A good template stands from now on.
  await expectNextRunWorks();
  await expectNothingLeft();
});
// Whatever one of them left, the next starts from nothing.
afterEach(async () => {
  for (const { workspaceId } of await pyro.listWorkspaces()) await pyro.deleteWorkspace(workspaceId);
  await pyro.stopDaemon({ force: true });
});
afterAll(async () => {
  await pyro[Symbol.asyncDispose]();
  await state[Symbol.asyncDispose]();
});

/** Another connection: the one to a daemon that was killed may not have noticed yet. */
async function connectAnew(): Promise<void> {
  await pyro[Symbol.asyncDispose]();
  pyro = await client(state.path);
}

type Step = () => Promise<unknown>;

/** The code of the error of the first step that could not be done. */
async function through(...steps: readonly Step[]): Promise<string | undefined> {
  for (const step of steps) {
    try {
      await step();
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === undefined) throw error;
      return code;
    }
  }
  return undefined;
}

const run = (): Promise<unknown> =>
  pyro.runInVm({ environment: "debian:12", argv: ["true"] }, { timeoutMs: CALL_MS });

/** How long a call may take, whatever happens to the daemon and its machines. */
const CALL_MS = 60_000;

interface Scenario {
  readonly pool?: number;
  /** Calls that pass through the failpoint, until the daemon has met it. Gives how the last one failed, if it did. */
  readonly pass: (daemon: FaultyDaemon) => Promise<string | undefined>;
  /** What the next daemon has to have found, where the one before was killed. */
  readonly found?: () => Promise<void>;
}

/** By the prefix of a failpoint's name: which calls pass through it. `pull` and `rotation` are tested without machines. */
const SCENARIOS: Readonly<Record<string, Scenario>> = {
  machine: { pass: () => through(run) },
  restore: { pass: () => through(run) },
  // Builds and saves other templates in place of the good ones.
  template: { pass: () => through(() => pyro.prepare({ force: true })) },
  save: { pass: () => through(() => pyro.prepare({ force: true })) },
  pool: { pool: 2, pass: useThePool },
  workspace: { pass: useAWorkspace },
  snapshot: { pass: useSnapshots },
  layer: { pass: useSnapshots },
  suspend: { pass: useItsMemory },
  resume: { pass: useItsMemory },
  memory: { pass: useAMemorySnapshot },
  fork: { pass: useItsMemory },
  secrets: { pass: useSecrets },
  ports: { pass: publishPorts },
  network: { pass: useItsNetwork, found: expectNoNetwork },
  environment: { pass: saveIt, found: expectNothingHalfSaved },
  build: { pass: buildAnother },
};

/** Other ways through some of them. */
const OTHER_WAYS: readonly (readonly [failpoint: string, how: string, Scenario])[] = [
  ...["workspace.resetting", "workspace.renewed"].map(
    (failpoint) =>
      [failpoint, "a reset of a suspended workspace to a snapshot", { pass: resetSuspended }] as const,
  ),
  ...FAILPOINTS.filter(
    (name) => ["template", "save", "restore"].includes(prefixOf(name)) && !onlyOfPlain(name),
  ).map(
    (failpoint) =>
      [failpoint, "the making of one with its environment mounted", { pass: mountAnew }] as const,
  ),
  ["workspace.condemned", "the deletion of a suspended workspace", { pass: deleteSuspended }],
  ["workspace.exported", "the export of a disk", { pass: exportDisk }],
];

/** Whether only a template with nothing mounted passes through it: one that is booted. */
function onlyOfPlain(failpoint: string): boolean {
  return failpoint === "template.exercised";
}

/** Makes the template with the environment mounted where only the one without stands. */
async function mountAnew(): Promise<string | undefined> {
  const templates = join(state.path, "cache/templates");
  for (const name of await readdir(templates)) {
    const files = await readdir(join(templates, name)).catch((): string[] => []);
    if (files.includes("layer")) await rm(join(templates, name), { recursive: true });
  }
  return await through(() => pyro.prepare({}));
}

const workspaceId = NAME;
const call = { timeoutMs: CALL_MS };
const create = (): Promise<unknown> => pyro.createWorkspace({ environment: "debian:12", name: NAME }, call);
const write = (): Promise<unknown> =>
  pyro.writeWorkspaceFile({ workspaceId, path: "dir/file", content: "text" }, call);
const stop = (): Promise<unknown> => pyro.stopWorkspace(NAME, {}, call);
const suspend = (): Promise<unknown> => pyro.stopWorkspace(NAME, { suspend: true }, call);
const start = (): Promise<unknown> => pyro.startWorkspace(NAME, {}, call);
const snapshot = (): Promise<unknown> => pyro.createSnapshot({ workspaceId, snapshotName: "one" }, call);
const remove = (): Promise<unknown> => pyro.deleteWorkspace(NAME, call);
const outputPath = (): string => join(state.path, "exported");

/** Once through a workspace's life; ends with the first call that could not be done. */
async function useAWorkspace(): Promise<string | undefined> {
  await rm(outputPath(), { recursive: true, force: true });
  return await through(
    ...[create, write],
    () => pyro.exportWorkspace({ workspaceId, path: "dir", outputPath: outputPath() }, call),
    ...[stop, start, () => pyro.resetWorkspace(NAME, {}, call), remove],
  );
}

/** A workspace whose disk gets layers, running and stopped. */
function useSnapshots(): Promise<string | undefined> {
  return through(create, write, snapshot, remove);
}

/** The same with what is in the machine. */
function useAMemorySnapshot(): Promise<string | undefined> {
  return through(
    create,
    () => pyro.createSnapshot({ workspaceId, snapshotName: "one", memory: true }, call),
    () => pyro.resetWorkspace(NAME, { snapshot: "one" }, call),
    remove,
  );
}

/** The same with what concerns its memory. */
function useItsMemory(): Promise<string | undefined> {
  return through(create, suspend, start, () => pyro.forkWorkspace(NAME, {}, call), remove);
}

let built = 0;

/** One step that nobody did before, and one that is there from then on. */
function buildAnother(): Promise<string | undefined> {
  const run = [`echo ${(built += 1)} >/etc/number`, "cat /etc/number"];
  return through(() => pyro.buildEnvironment({ name: "built", from: "debian:12", run }, call));
}

/** Its network is taken away while it runs. */
function useItsNetwork(): Promise<string | undefined> {
  const network = { policy: "egress" } as const;
  return through(
    () => pyro.createWorkspace({ environment: "debian:12", name: NAME, network }, call),
    () => pyro.setWorkspaceNetwork({ workspaceId, policy: "off" }, call),
    remove,
  );
}

/** The policy is the one that was asked for, on the host and in the machine, whoever of them was told. */
async function expectNoNetwork(): Promise<void> {
  const { policy } = await pyro.getWorkspaceNetwork({ workspaceId });
  expect(policy).toMatchObject({ mode: "off", allow: [] });
  const program = `import socket\ntry: socket.create_connection(("10.0.2.2", 80), 20)\nexcept OSError as error: print(error.strerror)`;
  const { output } = await pyro.execWorkspace({ workspaceId, argv: ["python3", "-c", program] }, call);
  expect(Buffer.from(output?.stdout.data ?? []).toString()).toBe("Network is unreachable\n");
}

function resetSuspended(): Promise<string | undefined> {
  const reset = (): Promise<unknown> => pyro.resetWorkspace(NAME, { snapshot: "one" }, call);
  return through(create, write, snapshot, suspend, reset, remove);
}

function deleteSuspended(): Promise<string | undefined> {
  return through(create, suspend, remove);
}

async function exportDisk(): Promise<string | undefined> {
  await rm(outputPath(), { recursive: true, force: true });
  const exporting = (): Promise<unknown> =>
    pyro.exportWorkspaceDisk({ workspaceId, outputPath: outputPath() }, call);
  return await through(create, stop, exporting, remove);
}

/** It has little left to copy. */
function saveIt(): Promise<string | undefined> {
  const shrink = "rm -rf /usr/share /usr/lib/git-core /usr/lib/python3* /usr/lib/x86_64-linux-gnu/perl*";
  const saving = { workspaceId, name: "saved:1", overwrite: true };
  return through(
    create,
    () => pyro.execWorkspace({ workspaceId, argv: ["sh", "-c", shrink] }, call),
    () => pyro.saveEnvironment(saving, { timeoutMs: 3 * CALL_MS }),
    () => pyro.deleteEnvironment(saving.name, call),
    remove,
  );
}

/** There is no environment, no machine that copies, and no half of a disk. */
async function expectNothingHalfSaved(): Promise<void> {
  const { environments } = await pyro.listEnvironments();
  expect(environments.filter(({ name }) => name === "saved:1")).toEqual([]);
  expect(await readdir(join(state.path, "cache", "pulls"))).toEqual([]);
}

/** A workspace with a secret, and a shell that is given it. */
function useSecrets(): Promise<string | undefined> {
  const secrets = [{ name: "TOKEN", value: "a secret value" }];
  return through(
    () => pyro.createWorkspace({ environment: "debian:12", name: NAME, secrets }, call),
    () => pyro.openShell({ workspaceId, secretEnv: { TOKEN: "TOKEN" } }, call),
    remove,
  );
}

/** A service that has a port of the host, until it is stopped. */
function publishPorts(): Promise<string | undefined> {
  const network = { policy: "egress+published-ports" } as const;
  const service = { workspaceId, serviceName: "web" };
  return through(
    () => pyro.createWorkspace({ environment: "debian:12", name: NAME, network }, call),
    () =>
      pyro.startService({ ...service, argv: ["sleep", "600"], publishedPorts: [{ guestPort: 80 }] }, call),
    ...[() => pyro.stopService(service, call), remove],
  );
}

/** Every workspace is usable, or says why not (threats.md I4); then it is deleted. */
async function expectUsableWorkspaces(): Promise<void> {
  for (const { workspaceId: id } of await pyro.listWorkspaces()) {
    const { state: is, stoppedBy, failure } = await pyro.statusWorkspace(id, { waitMs: 20_000 });
    // What its user stopped, or suspended, waits for its user.
    if (stoppedBy === "user") await pyro.startWorkspace(id, {}, call);
    const failed = await through(async () => {
      const { result } = await pyro.execWorkspace({ workspaceId: id, argv: ["true"] }, call);
      expect(result).toMatchObject({ exitCode: 0 });
    });
    if (failed !== undefined)
      expect([is, failed, failure]).toEqual([
        "failed",
        "WORKSPACE_FAILED",
        expect.objectContaining({ message: expect.stringMatching(/./) as string }),
      ]);
    await pyro.deleteWorkspace(id, call);
  }
}

/** Machines are made in the background after a run, and taken by the next. */
async function useThePool(daemon: FaultyDaemon): Promise<string | undefined> {
  for (let round = 0; ; round += 1) {
    const failed = await through(run);
    if (round === 3 || daemon.met()) return failed;
    await eventually("a machine waits, or the daemon met its end", async () => {
      if (daemon.met()) return true;
      const status = await pyro.daemonStatus().catch(() => undefined);
      return (status?.pooledVms ?? 0) > 0;
    });
    if (daemon.met()) return failed;
  }
}

async function expectNextRunWorks(): Promise<void> {
  const { stdout, exitCode } = await pyro.runInVm(
    { environment: "debian:12", argv: ["echo", "again"] },
    call,
  );
  expect([exitCode, Buffer.from(stdout).toString()]).toEqual([0, "again\n"]);
}

async function expectNothingLeft(): Promise<void> {
  // One that is still busy is left alone, and found.
  await pyro.stopDaemon().catch(() => undefined);
  let found: string[] = [];
  const clean = async (): Promise<boolean> => (found = await violations(state.path)).length === 0;
  const isClean = await eventually("nothing is left", clean, 5_000).then(
    () => true,
    () => false,
  );
  if (isClean) return;
  // What a daemon had no time for as it left, the next one removes.
  await expectNextRunWorks();
  await pyro.stopDaemon().catch(() => undefined);
  await eventually("nothing is left", clean, 5_000).catch(() => expect(found).toEqual([]));
}
/** Kills the daemon at the step. Gives how many machines it left running. */
async function killDaemonAt(failpoint: string, { pool = 0, pass, found }: Scenario): Promise<number> {
  const daemon = await daemonWithFailpoint(state.path, failpoint, { pool });
  await connectAnew();
  const failed = await pass(daemon);
  // The client may hear of it before this process does.
  expect(await daemon.gone).toBe("SIGKILL");
  const left = (await machinesOf(state.path)).length;
  // A step in the background costs nobody a call.
  if (failed !== undefined) expect(failed).toBe("DAEMON_UNREACHABLE");
  await connectAnew();
  await expectNextRunWorks();
  await found?.();
  await expectUsableWorkspaces();
  await expectNothingLeft();
  return left;
}

/** Kills the machines while the daemon stands still at the step, then lets it go on. */
async function killMachinesAt(failpoint: string, { pool = 0, pass }: Scenario): Promise<void> {
  const daemon = await daemonWithFailpoint(state.path, `${failpoint}=SIGSTOP`, { pool });
  await connectAnew();
  const killed = daemon.stopped().then(async () => {
    const machines = await machinesOf(state.path);
    for (const pid of machines) process.kill(pid, "SIGKILL");
    process.kill(daemon.pid, "SIGCONT");
  });
  const failed = await pass(daemon);
  await killed;
  // What was lost with the machine is named; what could be done without it was done.
  if (failed !== undefined) expect(failed).toMatch(/^VM_[A-Z_]+$/);
  await expectNextRunWorks();
  expect((await pyro.daemonStatus()).pid).toBe(daemon.pid);
  expect(await readFile(`${state.path}/daemon.log`, "utf8")).not.toContain('"event":"defect"');
  await expectUsableWorkspaces();
  await expectNothingLeft();
}

async function killAt(failpoint: string, scenario: Scenario | undefined): Promise<void> {
  if (scenario === undefined) throw new Error(`no scenario reaches ${failpoint}: add one for its prefix`);
  const machines = await killDaemonAt(failpoint, scenario);
  if (machines > 0) await killMachinesAt(failpoint, scenario);
}

describe("After a kill -9 the next call works and nothing is left over:", () => {
  it.each(
    FAILPOINTS.filter(
      (name) => !["blob", "image", "over", "pull", "push", "rotation"].includes(prefixOf(name)),
    ),
  )("%s", async (failpoint) => {
    await killAt(failpoint, SCENARIOS[prefixOf(failpoint)]);
  });

  it.each(OTHER_WAYS)("%s in %s", async (failpoint, _, scenario) => {
    expect(FAILPOINTS).toContain(failpoint);
    await killAt(failpoint, scenario);
  });
});

import { freshId, sleep } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { absolutePath, readsProfile, resolveCommand, type CommandRequest } from "./command-line.js";
import { describe } from "./exec.js";
import { explainEnd } from "./loss.js";
import type { MachineLog, MachineService, ServiceSpec } from "./machine-services.js";
import { checkReadiness, type ReadinessRequest } from "./readiness.js";
import { NAME_PATTERN } from "./record.js";
import type { SecretEnv, SecretEnvironment } from "./secrets/index.js";
import { settled } from "./wait.js";
import type { PortPair } from "./workspace-network.js";
import type { WorkspaceMachine } from "./workspace-machine.js";
import { isAlive, type ServiceFacts } from "./workspace-services.js";
import type { Workspace } from "./workspace.js";

/** A service for a workspace. */
export interface ServiceRequest extends CommandRequest {
  readonly name: string;
  /** Absolute, or below /workspace; empty: /workspace. */
  readonly cwd: string;
  readonly readiness: ReadinessRequest | undefined;
  /** Secrets of the workspace that it is given: {secret: variable}. */
  readonly secretEnv?: SecretEnv;
  /** Ports of it that this host is to reach. */
  readonly publishedPorts?: readonly PortPair[];
}

/** A part of a service's log. */
export interface ServiceLog {
  readonly data: Uint8Array;
  /** All that was ever written. */
  readonly totalBytes: number;
  /** Of that, the oldest bytes, which are not kept any more. */
  readonly droppedBytes: number;
  /** Kept, and above the lines that were asked for. */
  readonly aboveBytes: number;
}

/** How long a single look at a service that is starting waits. */
const LOOK_MS = 20_000;
/** A machine's line breaks a moment before its end is known. */
const LAST_SIGHT_MS = 2_000;
/** Until the end of a machine is noted, once it is known. */
const NOTED_MS = 250;

/**
 * Starts a service and waits, at most so long, until it is ready; it goes on whoever waits.
 * @throws {PyroError} INVALID_ARGUMENT, SERVICE_EXISTS, COMMAND_NOT_FOUND, PORT_TAKEN and the like: nothing was started then;
 *   SERVICE_FAILED with the end of what it wrote: nothing of it lives any more
 */
export async function startService(
  workspace: Workspace,
  request: ServiceRequest,
  { waitMs, signal }: { readonly waitMs: number; readonly signal: AbortSignal },
): Promise<ServiceFacts> {
  const { secrets } = workspace;
  const given = secrets.environment(request.secretEnv ?? {}, request.env);
  const startId = freshId("start");
  const spoken = (): ServiceSpec => specOf(startId, request, given, workspace);
  spoken();
  const machine = await workspace.machine(signal);
  // What its environment says is known once there is a machine.
  const spec = spoken();
  await reservePorts(workspace, machine, spec, request.publishedPorts ?? [], signal);
  const said = await started(workspace, machine, spec, given.names, signal);
  const first = workspace.services.take(machine.services, said);
  await workspace.touch();
  const facts = await untilReady(workspace, machine, first, waitMs, signal);
  if (isAlive(facts)) return facts;
  await workspace.ports.drop(spec.startId);
  if (facts.state === "failed") throw await failed(workspace, machine, facts);
  return facts;
}

/** Before anything is started: a port that cannot be had is the error of the start. */
async function reservePorts(
  { services, ports }: Workspace,
  machine: WorkspaceMachine,
  { name, startId }: ServiceSpec,
  wanted: readonly PortPair[],
  signal: AbortSignal,
): Promise<void> {
  if (wanted.length === 0) return;
  const exists = (): boolean => services.alive.some((service) => service.name === name);
  // The ports that are asked for may be those of the one that has the name: it may just have ended, or be the error.
  if (exists()) await services.refresh(machine.services, signal);
  if (exists()) throw serviceExists(name);
  await ports.reserve(startId, name, wanted);
}

/** Whoever is given secrets is held from before the machine hears of it. */
async function started(
  workspace: Workspace,
  machine: WorkspaceMachine,
  spec: ServiceSpec,
  secrets: readonly string[],
  signal: AbortSignal,
): Promise<MachineService> {
  const { secretHolders, ports } = workspace;
  const { name, startId } = spec;
  await secretHolders.begin(startId, { kind: "service", name, secrets });
  try {
    return await machine.services.start(spec, { signal });
  } catch (error) {
    // What was given up may have been started all the same.
    if (error instanceof PyroError && !signal.aborted && !error.retryable) secretHolders.end(startId);
    await ports.drop(startId);
    throw await explainEnd(error, machine, workspace);
  } finally {
    secretHolders.answered(startId);
  }
}

/** The one place where what a service is given comes together: its words and its environment. */
function specOf(
  startId: string,
  request: ServiceRequest,
  given: SecretEnvironment,
  { record: { config }, secrets }: Workspace,
): ServiceSpec {
  const { name, readiness } = request;
  requireServiceName(name);
  return {
    ...resolveCommand({ ...request, env: [...request.env, ...given.entries] }, config),
    ...{ name, startId, cwd: absolutePath(request.cwd), noLogin: !readsProfile(config) },
    command: describe(request, secrets.redactor).slice(0, LIMITS.serviceCommandCharacters),
    readiness: readiness === undefined ? undefined : checkReadiness(readiness),
  };
}

/** All services, as their machine tells now where there is one. */
export async function listServices(
  workspace: Workspace,
  signal: AbortSignal,
): Promise<readonly ServiceFacts[]> {
  const machine = await currentMachine(workspace, signal);
  if (machine !== undefined) {
    await workspace.services.refresh(machine.services, signal).catch((thrown: unknown) => {
      // Stopped or suspended meanwhile: what is known of them by then says so.
      if (workspace.runningMachine === machine) throw thrown;
    });
  }
  return workspace.services.all;
}

/** One service; waits, at most so long, while it is starting. @throws {PyroError} SERVICE_NOT_FOUND */
export async function serviceStatus(
  workspace: Workspace,
  name: string,
  { waitMs, signal }: { readonly waitMs: number; readonly signal: AbortSignal },
): Promise<ServiceFacts> {
  await listServices(workspace, signal);
  const facts = workspace.services.find(name);
  const machine = workspace.runningMachine;
  if (machine === undefined) return facts;
  return await untilReady(workspace, machine, facts, waitMs, signal);
}

/** Ends a service and all that it started; one that has ended stays as it is. @throws {PyroError} SERVICE_NOT_FOUND */
export async function stopService(
  workspace: Workspace,
  name: string,
  signal: AbortSignal,
): Promise<ServiceFacts> {
  const facts = await serviceStatus(workspace, name, { waitMs: 0, signal });
  const machine = workspace.runningMachine;
  if (machine === undefined || !isAlive(facts)) return facts;
  const stopped = await machine.services.stop(name, LIMITS.serviceGraceMs, { signal });
  const after = workspace.services.take(machine.services, stopped);
  await workspace.ports.drop(facts.startId);
  await workspace.touch();
  return after;
}

/**
 * What is kept of what a service wrote: its newest bytes, or of those the last lines.
 * @throws {PyroError} SERVICE_NOT_FOUND, also where the machine that kept the logs is gone
 */
export async function serviceLogs(
  workspace: Workspace,
  name: string,
  { tailLines, signal }: { readonly tailLines: number | undefined; readonly signal: AbortSignal },
): Promise<{ readonly facts: ServiceFacts; readonly stdout: ServiceLog; readonly stderr: ServiceLog }> {
  const facts = await serviceStatus(workspace, name, { waitMs: 0, signal });
  const machine = workspace.runningMachine;
  const logs = await machine?.services.logs(name, { signal }).catch((thrown: unknown) => {
    if (PyroError.from(thrown).code !== "SERVICE_NOT_FOUND") throw thrown;
    return undefined;
  });
  if (logs === undefined) {
    throw new PyroError(
      "SERVICE_NOT_FOUND",
      `the logs of service ${name} went with the machine that it ran in`,
      {
        hint: `it is ${facts.state} (${facts.stopReason ?? "unknown"}): start it again`,
      },
    );
  }
  const heard = (log: MachineLog): ServiceLog => lastLines(shownLog(workspace, log, facts), log, tailLines);
  return { facts, stdout: heard(logs.stdout), stderr: heard(logs.stderr) };
}

/**
 * A log without secrets, nor the rest of one whose beginning is not kept; of a service that lives, without what may be the
 * beginning of one.
 */
function shownLog(
  { secrets: { redactor } }: Workspace,
  { data, totalBytes }: MachineLog,
  facts: ServiceFacts,
): Uint8Array {
  if (redactor.isEmpty) return data;
  const stream = redactor.stream();
  const shown = stream.push(totalBytes > data.length ? redactor.maskRest(data) : data);
  if (isAlive(facts) && stream.openBytes >= LIMITS.secretMinBytes) return shown;
  return Buffer.concat([shown, stream.end()]);
}

function lastLines(
  kept: Uint8Array,
  { data, totalBytes }: MachineLog,
  lines: number | undefined,
): ServiceLog {
  const shown = lines === undefined ? kept : kept.subarray(tailFrom(kept, lines));
  return {
    ...{ data: shown, totalBytes, droppedBytes: Math.max(0, totalBytes - data.length) },
    aboveBytes: kept.length - shown.length,
  };
}

/** Where the last lines begin; a final newline ends the last one. */
function tailFrom(data: Uint8Array, lines: number): number {
  let at = data.at(-1) === 0x0a ? data.length - 1 : data.length;
  for (let left = lines; left > 0; left--) {
    at = data.subarray(0, at).lastIndexOf(0x0a);
    if (at < 0) return 0;
  }
  return at + 1;
}

/** The machine, where it runs or is about to be adopted; none is started for a look. */
async function currentMachine(
  workspace: Workspace,
  signal: AbortSignal,
): Promise<WorkspaceMachine | undefined> {
  if (workspace.runningMachine === undefined) {
    await workspace.settle(LIMITS.bootTimeoutMs, AbortSignal.any([signal, workspace.signal]));
  }
  return workspace.runningMachine;
}

async function untilReady(
  workspace: Workspace,
  machine: WorkspaceMachine,
  first: ServiceFacts,
  waitMs: number,
  signal: AbortSignal,
): Promise<ServiceFacts> {
  const { services } = workspace;
  const { name, startId } = first;
  const deadline = performance.now() + waitMs;
  let facts = first;
  while (facts.state === "starting" && startId === facts.startId) {
    const left = Math.round(deadline - performance.now());
    if (left <= 0) break;
    try {
      const said = await machine.services.get(name, { waitMs: Math.min(left, LOOK_MS), signal });
      facts = services.take(machine.services, said);
    } catch (thrown) {
      const known = await afterLoss(workspace, machine, name, signal);
      if (known === undefined) throw await explainEnd(thrown, machine, workspace);
      facts = known;
    }
  }
  return facts;
}

/** What is known of a service once its machine is lost; undefined where that is not why a look at it failed. */
async function afterLoss(
  workspace: Workspace,
  machine: WorkspaceMachine,
  name: string,
  signal: AbortSignal,
): Promise<ServiceFacts | undefined> {
  if (workspace.runningMachine === machine) await settled(machine.lost, LAST_SIGHT_MS, signal);
  // The loss is noted in the order in which it is heard of.
  await sleep(NOTED_MS, signal).catch(() => undefined);
  const known = workspace.services.all.find((service) => service.name === name);
  return known === undefined || isAlive(known) ? undefined : known;
}

/** The error of a service that failed: why, and the end of what it wrote. */
async function failed(
  workspace: Workspace,
  machine: WorkspaceMachine,
  facts: ServiceFacts,
): Promise<PyroError> {
  const { name, failure, exitCode, signal } = facts;
  const logs = await machine.services.logs(name).catch(() => undefined);
  const heard = (log: MachineLog | undefined): string =>
    tailText(workspace.services.hear(log?.data ?? Buffer.alloc(0)));
  const stdout = heard(logs?.stdout);
  const stderr = heard(logs?.stderr);
  const last = [stdout, stderr].filter((text) => text !== "").join("\n");
  return new PyroError(
    "SERVICE_FAILED",
    `service ${name} failed: ${plain(failure)}${last === "" ? "; it wrote nothing" : `. What it wrote last:\n${last}`}`,
    {
      hint: `\`pyro workspace service logs ${workspace.id} ${name}\` shows all of it; the name is free for another start`,
      details: { service_name: name, exit_code: exitCode ?? null, signal: signal ?? null, stdout, stderr },
    },
  );
}

function tailText(data: Uint8Array): string {
  const text = Buffer.from(data.subarray(Math.max(0, data.length - LIMITS.serviceTailBytes))).toString();
  return plain(text).trim();
}

/** Text of the guest in a message of ours: none of it drives a terminal. */
function plain(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "");
}

function serviceExists(name: string): PyroError {
  return new PyroError("SERVICE_EXISTS", `a service with the name ${name} lives already`, {
    hint: "stop it first, or use another name",
  });
}

function requireServiceName(name: string): void {
  if (NAME_PATTERN.test(name)) return;
  throw new PyroError(
    "INVALID_ARGUMENT",
    `the service name ${JSON.stringify(name.slice(0, 80))} is not allowed`,
    {
      hint: "1 to 64 letters, digits, dots, dashes and underscores; the first a letter or a digit",
    },
  );
}

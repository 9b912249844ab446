import * as z from "zod";
import { readJsonFile, sleep, writeFileAtomic } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { MachineService, MachineServices } from "./machine-services.js";
import type { SecretHolders } from "./secrets/index.js";

const readinessSchema = z.object({
  type: z.enum(["file", "tcp", "http", "command"]),
  value: z.string(),
  timeoutMs: z.number(),
  intervalMs: z.number(),
});

const factsSchema = z.object({
  name: z.string(),
  startId: z.string(),
  command: z.string(),
  cwd: z.string(),
  readiness: readinessSchema.optional(),
  state: z.enum(["starting", "running", "exited", "stopped", "failed"]),
  pid: z.number().optional(),
  startedAtMs: z.number(),
  readyAtMs: z.number().optional(),
  endedAtMs: z.number().optional(),
  stopReason: z
    .enum([
      "requested",
      "exited",
      "exited_before_ready",
      "not_ready",
      "workspace_stopped",
      "workspace_expired",
      "machine_lost",
    ])
    .optional(),
  exitCode: z.number().optional(),
  signal: z.string().optional(),
  outOfMemory: z.boolean(),
  failure: z.string(),
  forked: z.boolean(),
});

/** What is known of a service, also when its machine is gone. */
export type ServiceFacts = z.output<typeof factsSchema>;

/** How a machine's end ends its services. */
export type MachineEnd = "workspace_stopped" | "workspace_expired" | "machine_lost";

export interface WorkspaceServicesOptions {
  /** Where it is kept what is known. */
  readonly path: string;
  /** Every byte of the guest passes here before anybody sees or keeps it. */
  readonly hear: (bytes: Uint8Array) => Uint8Array;
  /** What was started so does not live any more, or is gone with its machine. Never rejects. */
  readonly onEnd: (startId: string) => Promise<void>;
  /** The last one that lived has ended by itself. */
  readonly onQuiet: () => void;
  /** Those that were given secrets, by the ids of their starts. */
  readonly holders: SecretHolders;
}

/** A look at the machine's services waits this long for a change, … */
const FOLLOW_MS = 30_000;
/** … and the next one comes no sooner: a guest cannot keep the host busy. */
const PAUSE_MS = 50;
/** After a look that failed: the machine is lost, or about to be found so. */
const RETRY_MS = 1_000;

/**
 * What is known of a workspace's services. The supervisor in the machine decides; here is what it said last, kept on disk,
 * so that a workspace without a machine can still tell, and so that whether one lives is known without asking.
 */
export class WorkspaceServices {
  readonly #known: Map<string, ServiceFacts>;
  /** The one that runs now. */
  #machine: MachineServices | undefined;
  #following: { readonly machine: MachineServices; readonly over: AbortController } | undefined;
  #saving: Promise<void> = Promise.resolve();
  #isClosed = false;

  private constructor(
    private readonly options: WorkspaceServicesOptions,
    known: readonly ServiceFacts[],
  ) {
    this.#known = new Map(known.map((facts) => [facts.name, facts]));
  }

  /** What cannot be read is not known: the machine tells again what lives. */
  static async open(options: WorkspaceServicesOptions): Promise<WorkspaceServices> {
    const kept = z.array(factsSchema).safeParse(await readJsonFile(options.path));
    return new WorkspaceServices(options, kept.data ?? []);
  }

  /** By name. */
  get all(): readonly ServiceFacts[] {
    return [...this.#known.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Those that are starting or running. */
  get alive(): readonly ServiceFacts[] {
    return this.all.filter(isAlive);
  }

  /** @throws {PyroError} SERVICE_NOT_FOUND */
  find(name: string): ServiceFacts {
    const facts = this.#known.get(name);
    if (facts !== undefined) return facts;
    const names = this.all.map((known) => known.name);
    throw new PyroError("SERVICE_NOT_FOUND", `no service has the name ${JSON.stringify(name.slice(0, 80))}`, {
      hint:
        names.length === 0 ? "no service was started" : `the services that there are: ${names.join(", ")}`,
    });
  }

  /** What a machine said of one of them; it is followed from now on while any lives. */
  take(machine: MachineServices, said: MachineService): ServiceFacts {
    // What the answer came from has been stopped, reset or lost meanwhile.
    if (machine !== this.#machine) return this.#factsOf(said);
    const facts = this.#put(said);
    this.#save();
    if (this.alive.length > 0) this.#follow(machine);
    return facts;
  }

  /** Asks the machine for all of them, and follows those that live. */
  async refresh(machine: MachineServices, signal?: AbortSignal): Promise<void> {
    const lived = this.alive;
    const looked = this.options.holders.look("service");
    const { services } = await machine.list({ afterGeneration: 0n, waitMs: 0, signal });
    this.#takeAll(services, lived, looked);
    if (this.alive.length > 0) this.#follow(machine);
  }

  /** The machine that they live in, after a daemon's death. What a restored machine holds is found by `refresh`. */
  attach(machine: MachineServices): void {
    this.#machine = machine;
    if (this.alive.length > 0) this.#follow(machine);
  }

  /** Their machine is suspended: they live on in its memory, and nobody is there to ask. */
  detach(): void {
    this.#machine = undefined;
    this.#leave();
  }

  /** Their machine is gone, or about to go. */
  async end(reason: MachineEnd, nowMs: number): Promise<void> {
    this.detach();
    const { alive } = this;
    for (const { pid: _pid, ...facts } of alive)
      this.#known.set(facts.name, { ...facts, state: "stopped", stopReason: reason, endedAtMs: nowMs });
    await Promise.all(alive.map(({ startId }) => this.options.onEnd(startId)));
    this.#save();
    await this.#saving;
  }

  /** Nothing of them is to be known any more. */
  async clear(): Promise<void> {
    this.detach();
    const starts = this.all.map(({ startId }) => startId);
    this.#known.clear();
    await Promise.all(starts.map((startId) => this.options.onEnd(startId)));
    this.#save();
    await this.#saving;
  }

  /** Lets go of them: they live on, for the next daemon, or their directory is about to go. */
  async close(): Promise<void> {
    this.#leave();
    this.#isClosed = true;
    await this.#saving;
  }

  /** The bytes of a log, as they may be shown. */
  hear(bytes: Uint8Array): Uint8Array {
    return this.options.hear(bytes);
  }

  #put(said: MachineService): ServiceFacts {
    const known = this.#known.get(said.name);
    // An answer that was overtaken by a later one.
    if (known?.startId === said.startId && rank(known) > rank(said)) return known;
    const facts = this.#factsOf(said);
    this.#known.set(said.name, facts);
    if (!isAlive(facts)) this.#ended(facts);
    // A later start has its name, and of its own end nobody heard.
    if (known !== undefined && isAlive(known) && known.startedAtMs < said.startedAtMs) this.#ended(known);
    return facts;
  }

  #ended({ startId }: ServiceFacts): void {
    this.options.holders.end(startId);
    void this.options.onEnd(startId);
  }

  /** The one place where a machine's word about a service becomes ours. */
  #factsOf({ end, failure, command, cwd, readiness, ...said }: MachineService): ServiceFacts {
    const text = (value: string): string => Buffer.from(this.hear(Buffer.from(value))).toString();
    return {
      ...{ ...said, command: text(command), cwd: text(cwd), failure: text(failure), stopReason: end },
      readiness: readiness === undefined ? undefined : { ...readiness, value: text(readiness.value) },
    };
  }

  /** @param lived those that lived when the machine was asked: it need not know what was started since */
  #takeAll(
    services: readonly MachineService[],
    lived: readonly ServiceFacts[],
    looked: (alive: readonly string[]) => void,
  ): void {
    looked(services.filter(isAlive).map(({ startId }) => startId));
    const wasQuiet = this.alive.length === 0;
    for (const said of services) this.#put(said);
    const told = new Set(services.map(({ name }) => name));
    for (const { pid: _pid, ...facts } of lived) {
      if (told.has(facts.name) || this.#known.get(facts.name)?.startId !== facts.startId) continue;
      const lost = { ...facts, state: "stopped", stopReason: "machine_lost", endedAtMs: Date.now() } as const;
      this.#known.set(facts.name, lost);
      void this.options.onEnd(facts.startId);
    }
    // Those of earlier machines go first where the agent's own bound would be passed.
    const ended = this.all.filter((facts) => !told.has(facts.name));
    for (const { name } of ended.slice(0, Math.max(0, this.#known.size - LIMITS.services))) {
      this.#known.delete(name);
    }
    this.#save();
    if (!wasQuiet && this.alive.length === 0) this.options.onQuiet();
  }

  #follow(machine: MachineServices): void {
    if (this.#isClosed || this.#following?.machine === machine) return;
    this.#leave();
    const over = new AbortController();
    this.#following = { machine, over };
    void this.#watch(machine, over.signal).finally(() => {
      if (this.#following?.over === over) this.#following = undefined;
    });
  }

  #leave(): void {
    this.#following?.over.abort();
    this.#following = undefined;
  }

  async #watch(machine: MachineServices, signal: AbortSignal): Promise<void> {
    let afterGeneration = 0n;
    do {
      try {
        const lived = this.alive;
        const looked = this.options.holders.look("service");
        const list = await machine.list({ afterGeneration, waitMs: FOLLOW_MS, signal });
        if (signal.aborted) return;
        afterGeneration = list.generation;
        this.#takeAll(list.services, lived, looked);
        await sleep(PAUSE_MS, signal);
      } catch {
        // Whoever calls meets the error; how the machine ended is told by others.
        await sleep(RETRY_MS, signal).catch(() => undefined);
      }
    } while (!signal.aborted && this.alive.length > 0);
  }

  #save(): void {
    if (this.#isClosed) return;
    const text = JSON.stringify(this.all);
    const write = async (): Promise<void> => {
      await writeFileAtomic(this.options.path, text);
    };
    // What could not be written is told again by the machine, or by nobody.
    this.#saving = this.#saving.then(write).catch(() => undefined);
  }
}

export function isAlive({ state }: { readonly state: ServiceFacts["state"] }): boolean {
  return state === "starting" || state === "running";
}

function rank({ state }: { readonly state: ServiceFacts["state"] }): number {
  return state === "starting" ? 0 : state === "running" ? 1 : 2;
}

import * as z from "zod";
import { failpoint, readJsonFile, Slots, writeFileAtomic } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { PortPair, WorkspaceNetwork } from "./workspace-network.js";
import type { ServiceFacts } from "./workspace-services.js";

const entrySchema = z.object({
  /** Whose the ports are on the host: a fork finds those of the workspace that it comes from. */
  workspaceId: z.string(),
  startId: z.string(),
  service: z.string(),
  ports: z.array(z.object({ hostPort: z.number(), guestPort: z.number() })),
});

type Entry = z.output<typeof entrySchema>;

/** Why ports of services that live on in a saved memory are closed. */
export const SUSPENDED = "the workspace is suspended";

/** A published port of a service that lives. */
export interface ServicePort extends PortPair {
  readonly service: string;
  /** Reserved: it is listened on, and nobody gets in until the service is ready. */
  readonly state: "open" | "reserved" | "closed";
  /** Why it is closed; else empty. */
  readonly reason: string;
}

export interface PublishedPortsOptions {
  readonly workspaceId: string;
  /** Where it is kept which ports there are to be. */
  readonly path: string;
  readonly network: Pick<WorkspaceNetwork, "ports" | "publish" | "unpublish">;
  /** What is known of the service that was started so; undefined: nothing. */
  readonly factsOf: (startId: string) => ServiceFacts | undefined;
}

/**
 * The ports that a workspace's services have on the host, by the starts of those. They are written down before the machine
 * hears of the start, so that the next daemon, and a workspace that goes on after a suspend, publishes the same ones again;
 * one that is taken by then stays closed, and no other is chosen.
 */
export class PublishedPorts {
  #kept = new Map<string, Entry>();
  /** Starts that were read from the disk and not yet looked for among the services. */
  #found = new Set<string>();
  /** Why ports are closed that were to be open: by start and host port. */
  readonly #closed = new Map<string, string>();
  readonly #turn = new Slots(1);

  private constructor(private readonly options: PublishedPortsOptions) {}

  static async open(options: PublishedPortsOptions): Promise<PublishedPorts> {
    const ports = new PublishedPorts(options);
    await ports.load();
    return ports;
  }

  /** Reads again what is kept on the disk; what cannot be read is not published. */
  async load(): Promise<void> {
    const kept = z.array(entrySchema).safeParse(await readJsonFile(this.options.path));
    this.#kept = new Map((kept.data ?? []).map((entry) => [entry.startId, entry]));
    this.#found = new Set(this.#kept.keys());
  }

  /** Those of a service, while it lives. */
  of(facts: ServiceFacts): readonly ServicePort[] {
    const entry = this.#kept.get(facts.startId);
    if (entry === undefined || !lives(facts)) return [];
    return entry.ports.map((port) => ({
      ...port,
      service: facts.name,
      ...this.#stateOf(entry, port, facts),
    }));
  }

  /**
   * Listens for a service that is about to be started; nobody gets in before it is ready.
   * @throws {PyroError} INVALID_ARGUMENT, PUBLISHING_NOT_ALLOWED, PORT_PRIVILEGED, PORT_TAKEN: nothing is listened on then
   */
  async reserve(startId: string, service: string, wanted: readonly PortPair[]): Promise<void> {
    if (wanted.length === 0) return;
    checkPorts(wanted);
    const { workspaceId } = this.options;
    using _turn = await this.#turn.take();
    const ports = [...(await this.#publish({ startId, service }, wanted))];
    this.#kept.set(startId, { workspaceId, startId, service, ports });
    try {
      await this.#save();
    } catch (error) {
      await this.#forget(startId);
      throw error;
    }
    failpoint("ports.reserved");
  }

  /** Whether nothing is to be published. */
  get isEmpty(): boolean {
    return this.#kept.size === 0;
  }

  /** Closes those of a start for good; resolves when they are free. */
  async drop(startId: string): Promise<void> {
    if (!this.#kept.has(startId)) return;
    using _turn = await this.#turn.take();
    if (!this.#kept.has(startId)) return;
    await this.#forget(startId);
    // On a full disk: the service is found gone by the next daemon too.
    await this.#save().catch(() => undefined);
    failpoint("ports.dropped");
  }

  /** Closes all of them, or says why they are, until the next `settle`. */
  async close(why: string): Promise<void> {
    using _turn = await this.#turn.take();
    for (const { startId, ports } of this.#kept.values()) {
      for (const port of ports) this.#closed.set(keyOf(startId, port), why);
      await this.options.network.unpublish(startId);
    }
  }

  /**
   * Publishes again what is closed, where its service lives and the policy allows it; of what an earlier daemon left,
   * forgets what belongs to no service. To be called when the machine goes on and has told of its services, or the
   * policy has changed.
   */
  async settle(): Promise<void> {
    using _turn = await this.#turn.take();
    let isChanged = false;
    for (const { startId } of [...this.#kept.values()]) {
      const facts = this.options.factsOf(startId);
      if (this.#found.has(startId) && (facts === undefined || !lives(facts))) {
        await this.#forget(startId);
        isChanged = true;
      } else if (facts !== undefined) await this.#reopen(startId);
    }
    this.#found.clear();
    if (isChanged) await this.#save().catch(() => undefined);
  }

  async #reopen(startId: string): Promise<void> {
    const entry = this.#kept.get(startId);
    if (entry?.workspaceId !== this.options.workspaceId) return;
    for (const port of entry.ports) {
      if (this.#isListening(startId, port)) continue;
      try {
        await this.#publish(entry, [port]);
        this.#closed.delete(keyOf(startId, port));
      } catch (error) {
        const { code, message } = PyroError.from(error);
        const next = code === "PORT_TAKEN" ? "; free it and start the service again, or publish another" : "";
        this.#closed.set(keyOf(startId, port), message + next);
      }
    }
  }

  async #publish(
    { startId, service }: Pick<Entry, "startId" | "service">,
    ports: readonly PortPair[],
  ): Promise<readonly PortPair[]> {
    const isReady = (): boolean => this.options.factsOf(startId)?.state === "running";
    const { network, workspaceId } = this.options;
    return await network.publish({ workspaceId, startId, service, isReady }, ports);
  }

  async #forget(startId: string): Promise<void> {
    await this.options.network.unpublish(startId);
    for (const port of this.#kept.get(startId)?.ports ?? []) this.#closed.delete(keyOf(startId, port));
    this.#kept.delete(startId);
  }

  async #save(): Promise<void> {
    await writeFileAtomic(this.options.path, JSON.stringify([...this.#kept.values()]));
  }

  #isListening(startId: string, { hostPort, guestPort }: PortPair): boolean {
    return this.options.network.ports.some(
      (port) => port.startId === startId && port.hostPort === hostPort && port.guestPort === guestPort,
    );
  }

  #stateOf(entry: Entry, port: PortPair, { state }: ServiceFacts): Pick<ServicePort, "state" | "reason"> {
    if (this.#isListening(entry.startId, port))
      return { state: state === "starting" ? "reserved" : "open", reason: "" };
    if (entry.workspaceId !== this.options.workspaceId) {
      return {
        state: "closed",
        reason: `${entry.workspaceId}, from which this workspace was forked, keeps it; start the service again with another port`,
      };
    }
    const why = this.#closed.get(keyOf(entry.startId, port));
    return {
      state: "closed",
      reason: why ?? "it is not published yet",
    };
  }
}

function keyOf(startId: string, { hostPort, guestPort }: PortPair): string {
  return `${startId} ${hostPort} ${guestPort}`;
}

function lives({ state }: ServiceFacts): boolean {
  return state === "starting" || state === "running";
}

function checkPorts(wanted: readonly PortPair[]): void {
  if (wanted.length > LIMITS.servicePublishedPorts) {
    throw new PyroError("INVALID_ARGUMENT", `${wanted.length} ports are to be published for one service`, {
      hint: `publish at most ${LIMITS.servicePublishedPorts}`,
    });
  }
  const fixed = wanted.map(({ hostPort }) => hostPort).filter((port) => port !== 0);
  const twice = fixed.find((port, index) => fixed.indexOf(port) !== index);
  if (twice === undefined) return;
  throw new PyroError("INVALID_ARGUMENT", `port ${twice} of the host is to be published twice`, {
    hint: "give each port of the host once; several may lead to the same port in the machine",
  });
}

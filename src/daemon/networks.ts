import { join } from "node:path";
import { failpoint, type Logger } from "../kit/index.js";
import {
  Gateway,
  NetworkRecord,
  NO_NETWORK,
  policyFromText,
  policyToText,
  PublishedPort,
  RecordFile,
  SharedLookUp,
  type Dial,
  type DialledPipe,
  type LookAtFirstBytes,
  type NetworkPolicy,
} from "../network/index.js";
import { PyroError } from "../protocol/index.js";
import type {
  ChangedEvents,
  ListeningPort,
  MachineNetwork,
  NetworkPolicyText,
  NetworkRefusal,
  NetworkReport,
  OpenNetworkOptions,
  PortOwner,
  PortPair,
  WorkspaceNetwork,
  WorkspaceNetworks,
} from "../workspace/index.js";
import type { NetworkDoors } from "./guest-network.js";
import { NOTHING, type Provision } from "./provision/index.js";

/** In the workspace's directory. */
const RECORD_FILE = "network.jsonl";

export interface NetworksOptions {
  /** judgeFirstBytes when left out. */
  readonly look?: LookAtFirstBytes;
  readonly log: Logger;
  /** The host's resolver when left out. */
  readonly lookUp?: SharedLookUp;
  /** Directly when left out. */
  readonly dial?: Dial;
  /** What machines with a network get of the host; nothing when left out. */
  readonly provision?: () => Promise<Provision>;
}

/** Networks of workspaces, which share the host's resolver. */
export function openNetworks(options: NetworksOptions): WorkspaceNetworks {
  const lookUp = options.lookUp ?? new SharedLookUp();
  return {
    open: async ({ directory, policy, redact }: OpenNetworkOptions) => {
      const record = await NetworkRecord.open({
        ...(directory === undefined ? {} : { file: new RecordFile(join(directory, RECORD_FILE)) }),
        redact,
      });
      const gateway = new Gateway({
        ...{ policy: readPolicy(policy, options.log), record, lookUp },
        ...(options.look === undefined ? {} : { look: options.look }),
        ...(options.dial === undefined ? {} : { dial: options.dial }),
      });
      return new Network(gateway, options.provision ?? (() => Promise.resolve(NOTHING)));
    },
  };
}

/** What cannot be read allows nothing. */
function readPolicy(text: NetworkPolicyText, log: Logger): NetworkPolicy {
  try {
    return policyFromText(text);
  } catch (error) {
    log.error("network.policy", { error: PyroError.from(error).message });
    return NO_NETWORK;
  }
}

class Network implements WorkspaceNetwork {
  #machine: MachineNetwork | undefined;
  /** By the start of their service. */
  readonly #published = new Map<string, PublishedPort[]>();
  #isClosed = false;

  constructor(
    private readonly gateway: Gateway,
    private readonly provision: () => Promise<Provision>,
  ) {}

  get policy(): NetworkPolicyText {
    return policyToText(this.gateway.policy);
  }

  get report(): NetworkReport {
    const { record, openCount } = this.gateway;
    const { generation, entries: events } = record;
    return { policy: this.policy, openCount, totals: { ...record.totals }, events, generation };
  }

  async eventsAfter(generation: number, signal: AbortSignal): Promise<ChangedEvents> {
    const changed = await this.gateway.record.entriesAfter(generation, signal);
    return { events: changed.entries, generation: changed.generation };
  }

  get lastRefusal(): NetworkRefusal | undefined {
    return this.gateway.record.lastRefusal;
  }

  get ports(): readonly ListeningPort[] {
    return [...this.#published].flatMap(([startId, ports]) =>
      ports.map(({ hostPort, guestPort }) => ({ startId, hostPort, guestPort })),
    );
  }

  checked(text: NetworkPolicyText): NetworkPolicyText {
    return policyToText(policyFromText(text));
  }

  async setPolicy(text: NetworkPolicyText): Promise<void> {
    const policy = policyFromText(text);
    this.gateway.setPolicy(policy);
    failpoint("network.judged");
    if (policy.mode !== "egress+published-ports") await this.#unpublishAll();
    if (this.#machine !== undefined) await this.#serve(this.#machine);
  }

  async attach(machine: MachineNetwork, isFresh = false): Promise<void> {
    if (this.#machine !== undefined && this.#machine !== machine)
      this.detach("the workspace has another machine");
    this.#machine = machine;
    if (!isFresh || this.gateway.policy.mode !== "off") await this.#serve(machine);
  }

  detach(why: string): void {
    this.#machine = undefined;
    this.gateway.resetAll(why);
  }

  async publish(owner: PortOwner, wanted: readonly PortPair[]): Promise<readonly PortPair[]> {
    this.#requirePublishing(owner);
    const opened: PublishedPort[] = [];
    try {
      for (const pair of wanted) opened.push(await this.#open(owner, pair));
      // The policy may have changed meanwhile, or all be over.
      this.#requirePublishing(owner);
    } catch (error) {
      await Promise.all(opened.map((port) => port[Symbol.asyncDispose]()));
      throw error;
    }
    const { startId } = owner;
    this.#published.set(startId, [...(this.#published.get(startId) ?? []), ...opened]);
    return opened.map(({ hostPort, guestPort }) => ({ hostPort, guestPort }));
  }

  async unpublish(startId: string): Promise<void> {
    const ports = this.#published.get(startId) ?? [];
    this.#published.delete(startId);
    await Promise.all(ports.map((port) => port[Symbol.asyncDispose]()));
  }

  async #unpublishAll(): Promise<void> {
    await Promise.all([...this.#published.keys()].map((startId) => this.unpublish(startId)));
  }

  #requirePublishing({ workspaceId }: PortOwner): void {
    const { mode } = this.gateway.policy;
    if (mode !== "egress+published-ports") throw notAllowed(mode, workspaceId);
    if (this.#isClosed || this.#machine === undefined) throw noMachine();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#machine = undefined;
    await this.#unpublishAll();
    await this.gateway.close("the workspace was closed");
    await this.gateway.record.close();
  }

  /** Doors of this machine alone: one that was left goes nowhere, whatever it still says. */
  async #serve(machine: MachineNetwork): Promise<void> {
    const { gateway } = this;
    const isLeft = (): boolean => this.#machine !== machine;
    const doors: NetworkDoors = {
      provision: this.provision,
      resolve: async (name, family) =>
        isLeft() ? { failure: "refused" } : await gateway.resolve(name, family),
      connect: async (target, pipe) => {
        if (isLeft()) await pipe.refuse("policy", "this machine was left").catch(() => undefined);
        else await gateway.connect(target, pipe);
      },
    };
    await machine.serve(doors, gateway.policy.mode !== "off");
  }

  async #open({ service, isReady }: PortOwner, pair: PortPair): Promise<PublishedPort> {
    const { record } = this.gateway;
    return await PublishedPort.open({
      ...pair,
      dial: async (port, signal) => {
        if (!isReady()) {
          throw new PyroError("GUEST_PORT_REFUSED", `service ${service} is not ready yet`, {
            hint: "wait until it runs",
            retryable: true,
          });
        }
        if (this.#machine === undefined) throw noMachine();
        return (await this.#machine.dial(port, signal)) as DialledPipe;
      },
      onConnection: () => {
        const entry = record.add({
          kind: "published",
          name: service,
          port: pair.guestPort,
          decision: "open",
        });
        return (ended) => record.finish(entry, { ...ended, decision: "allowed" });
      },
    });
  }
}

function noMachine(): PyroError {
  return new PyroError("WORKSPACE_STOPPED", "the workspace has no running machine", {
    hint: "start it, and the service",
  });
}

function notAllowed(mode: string, workspaceId: string): PyroError {
  return new PyroError(
    "PUBLISHING_NOT_ALLOWED",
    `the workspace's network policy is ${mode}: it publishes no ports`,
    {
      hint: `only the user can allow it: \`pyro workspace network set ${workspaceId} --add --network-policy egress+published-ports\``,
    },
  );
}

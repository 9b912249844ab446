import { join } from "node:path";
import type { Logger } from "../kit/index.js";
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
  MachineNetwork,
  NetworkPolicyText,
  NetworkRefusal,
  NetworkReport,
  OpenNetworkOptions,
  WorkspaceNetwork,
  WorkspaceNetworks,
  WorkspacePort,
} from "../workspace/index.js";
import type { NetworkDoors } from "./guest-network.js";

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
}

/** Networks of workspaces, which share the host's resolver. */
export function openNetworks(options: NetworksOptions): WorkspaceNetworks {
  const lookUp = options.lookUp ?? new SharedLookUp();
  return {
    open: async ({ directory, policy, redact, onEvent }: OpenNetworkOptions) => {
      const record = await NetworkRecord.open({
        ...(directory === undefined ? {} : { file: new RecordFile(join(directory, RECORD_FILE)) }),
        redact,
        ...(onEvent === undefined ? {} : { onEntry: onEvent }),
      });
      const gateway = new Gateway({
        ...{ policy: readPolicy(policy, options.log), record, lookUp },
        ...(options.look === undefined ? {} : { look: options.look }),
        ...(options.dial === undefined ? {} : { dial: options.dial }),
      });
      return new Network(gateway);
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
  readonly #published = new Map<string, PublishedPort[]>();

  constructor(private readonly gateway: Gateway) {}

  get policy(): NetworkPolicyText {
    return policyToText(this.gateway.policy);
  }

  get report(): NetworkReport {
    const { record, openCount } = this.gateway;
    return { policy: this.policy, openCount, totals: { ...record.totals }, events: record.entries };
  }

  get lastRefusal(): NetworkRefusal | undefined {
    return this.gateway.record.lastRefusal;
  }

  get ports(): readonly WorkspacePort[] {
    return [...this.#published].flatMap(([service, ports]) =>
      ports.map(({ hostPort, guestPort }) => ({ service, hostPort, guestPort })),
    );
  }

  async setPolicy(text: NetworkPolicyText): Promise<void> {
    const policy = policyFromText(text);
    this.gateway.setPolicy(policy);
    if (policy.mode !== "egress+published-ports") {
      await Promise.all([...this.#published.keys()].map((service) => this.unpublish(service)));
    }
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

  async publish(
    service: string,
    wanted: readonly { readonly hostPort: number; readonly guestPort: number }[],
  ): Promise<readonly WorkspacePort[]> {
    if (this.gateway.policy.mode !== "egress+published-ports") throw notAllowed(this.gateway.policy.mode);
    const opened: PublishedPort[] = [];
    try {
      for (const { hostPort, guestPort } of wanted)
        opened.push(await this.#open(service, hostPort, guestPort));
    } catch (error) {
      await Promise.all(opened.map((port) => port[Symbol.asyncDispose]()));
      throw error;
    }
    this.#published.set(service, [...(this.#published.get(service) ?? []), ...opened]);
    return opened.map(({ hostPort, guestPort }) => ({ service, hostPort, guestPort }));
  }

  async unpublish(service: string): Promise<void> {
    const ports = this.#published.get(service) ?? [];
    this.#published.delete(service);
    await Promise.all(ports.map((port) => port[Symbol.asyncDispose]()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#machine = undefined;
    await Promise.all([...this.#published.keys()].map((service) => this.unpublish(service)));
    await this.gateway.close("the workspace was closed");
    await this.gateway.record.close();
  }

  /** Doors of this machine alone: one that was left goes nowhere, whatever it still says. */
  async #serve(machine: MachineNetwork): Promise<void> {
    const { gateway } = this;
    const isLeft = (): boolean => this.#machine !== machine;
    const doors: NetworkDoors = {
      resolve: async (name, family) =>
        isLeft() ? { failure: "refused" } : await gateway.resolve(name, family),
      connect: async (target, pipe) => {
        if (isLeft()) await pipe.refuse("policy", "this machine was left").catch(() => undefined);
        else await gateway.connect(target, pipe);
      },
    };
    await machine.serve(doors, gateway.policy.mode !== "off");
  }

  async #open(service: string, hostPort: number, guestPort: number): Promise<PublishedPort> {
    const { record } = this.gateway;
    return await PublishedPort.open({
      hostPort,
      guestPort,
      dial: async (port, signal) => {
        if (this.#machine === undefined) {
          throw new PyroError("WORKSPACE_STOPPED", "the workspace has no running machine", {
            hint: "start it, and the service",
          });
        }
        return (await this.#machine.dial(port, signal)) as DialledPipe;
      },
      onConnection: () => {
        const entry = record.add({ kind: "published", name: service, port: guestPort, decision: "open" });
        return (ended) => record.finish(entry, { ...ended, decision: "allowed" });
      },
    });
  }
}

function notAllowed(mode: string): PyroError {
  return new PyroError(
    "PUBLISHING_NOT_ALLOWED",
    `the workspace's network policy is ${mode}: it publishes no ports`,
    {
      hint: "only the user can allow it: `pyro workspace network set ID --add --network-policy egress+published-ports`",
    },
  );
}

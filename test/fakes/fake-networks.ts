import { PyroError } from "../../src/protocol/index.js";
import type {
  ChangedEvents,
  ListeningPort,
  MachineNetwork,
  NetworkPolicyText,
  NetworkReport,
  PortOwner,
  PortPair,
  WorkspaceNetwork,
  WorkspaceNetworks,
} from "../../src/workspace/index.js";

/** The network of a fake workspace: it carries nothing, and remembers what it was told. */
export class FakeNetwork implements WorkspaceNetwork {
  machine: MachineNetwork | undefined;
  readonly detached: string[] = [];
  readonly lastRefusal = undefined;
  isClosed = false;
  #published: (ListeningPort & { readonly owner: PortOwner })[] = [];

  constructor(
    public policy: NetworkPolicyText,
    private readonly host: Pick<FakeNetworks, "isTaken">,
  ) {}

  get report(): NetworkReport {
    const totals = { connections: 0, published: 0, refused: 0, failed: 0, bytesUp: 0, bytesDown: 0 };
    return { policy: this.policy, openCount: 0, totals, events: [], generation: 1 };
  }

  async eventsAfter(generation: number, signal: AbortSignal): Promise<ChangedEvents> {
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
    return { events: [], generation };
  }

  get ports(): readonly ListeningPort[] {
    return this.#published;
  }

  /** Whether somebody who connects to a port of the host gets in. */
  leadsIn(hostPort: number): boolean {
    return this.#published.some((port) => port.hostPort === hostPort && port.owner.isReady());
  }

  checked(policy: NetworkPolicyText): NetworkPolicyText {
    if (policy.allow.includes("bad rule")) {
      throw new PyroError("INVALID_NETWORK_POLICY", "a bad rule", { hint: "a better one" });
    }
    return policy;
  }

  setPolicy(policy: NetworkPolicyText): Promise<void> {
    this.policy = policy;
    if (policy.mode !== "egress+published-ports") this.#published = [];
    return Promise.resolve();
  }

  async attach(machine: MachineNetwork, isFresh = false): Promise<void> {
    this.machine = machine;
    if (!isFresh || this.policy.mode !== "off") await machine.serve(this, this.policy.mode !== "off");
  }

  detach(why: string): void {
    this.machine = undefined;
    this.detached.push(why);
  }

  async publish(owner: PortOwner, wanted: readonly PortPair[]): Promise<readonly PortPair[]> {
    await Promise.resolve();
    if (this.machine === undefined)
      throw new PyroError("WORKSPACE_STOPPED", "no machine", { hint: "start it" });
    if (this.policy.mode !== "egress+published-ports")
      throw new PyroError("PUBLISHING_NOT_ALLOWED", `the policy is ${this.policy.mode}`, {
        hint: "allow it",
      });
    const opened = wanted.map(({ hostPort, guestPort }) => ({
      ...{ owner, startId: owner.startId, guestPort },
      hostPort: hostPort === 0 ? 40_000 + guestPort : hostPort,
    }));
    const taken = opened.find(({ hostPort }) => this.host.isTaken(hostPort));
    if (taken !== undefined) {
      throw new PyroError("PORT_TAKEN", `port ${taken.hostPort} of 127.0.0.1 is in use on the host`, {
        hint: `publish another one, such as ${taken.hostPort + 1}:${taken.guestPort}, or ${taken.guestPort} alone, so that the system chooses`,
      });
    }
    this.#published = [...this.#published, ...opened];
    return opened.map(({ hostPort, guestPort }) => ({ hostPort, guestPort }));
  }

  /** Ports are free a moment later, as real ones are. */
  async unpublish(startId: string): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 80));
    this.#published = this.#published.filter((port) => port.startId !== startId);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.isClosed = true;
    this.#published = [];
    return Promise.resolve();
  }
}

/** Networks of fake workspaces, the newest last. */
export class FakeNetworks implements WorkspaceNetworks {
  readonly opened: FakeNetwork[] = [];

  /** @param taken ports that others of the host hold */
  constructor(readonly taken: Set<number> = new Set()) {}

  isTaken(hostPort: number): boolean {
    const ports = this.opened.flatMap(({ ports: listening }) => listening.map((port) => port.hostPort));
    return this.taken.has(hostPort) || ports.includes(hostPort);
  }

  open({ policy }: Parameters<WorkspaceNetworks["open"]>[0]): Promise<FakeNetwork> {
    const network = new FakeNetwork(policy, this);
    this.opened.push(network);
    return Promise.resolve(network);
  }
}

import { PyroError } from "../../src/protocol/index.js";
import type {
  MachineNetwork,
  NetworkPolicyText,
  NetworkReport,
  WorkspaceNetwork,
  WorkspaceNetworks,
  WorkspacePort,
} from "../../src/workspace/index.js";

/** The network of a fake workspace: it carries nothing, and remembers what it was told. */
export class FakeNetwork implements WorkspaceNetwork {
  machine: MachineNetwork | undefined;
  readonly detached: string[] = [];
  readonly lastRefusal = undefined;
  isClosed = false;
  #ports: WorkspacePort[] = [];

  constructor(public policy: NetworkPolicyText) {}

  get report(): NetworkReport {
    const totals = { connections: 0, published: 0, refused: 0, failed: 0, bytesUp: 0, bytesDown: 0 };
    return { policy: this.policy, openCount: 0, totals, events: [] };
  }

  get ports(): readonly WorkspacePort[] {
    return this.#ports;
  }

  setPolicy(policy: NetworkPolicyText): Promise<void> {
    if (policy.allow.includes("bad rule")) {
      return Promise.reject(new PyroError("INVALID_NETWORK_POLICY", "a bad rule", { hint: "a better one" }));
    }
    this.policy = policy;
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

  publish(
    service: string,
    ports: readonly { hostPort: number; guestPort: number }[],
  ): Promise<WorkspacePort[]> {
    const opened = ports.map((port) => ({ service, ...port }));
    this.#ports = [...this.#ports, ...opened];
    return Promise.resolve(opened);
  }

  unpublish(service: string): Promise<void> {
    this.#ports = this.#ports.filter((port) => port.service !== service);
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.isClosed = true;
    return Promise.resolve();
  }
}

/** Networks of fake workspaces, the newest last. */
export class FakeNetworks implements WorkspaceNetworks {
  readonly opened: FakeNetwork[] = [];

  open({ policy }: Parameters<WorkspaceNetworks["open"]>[0]): Promise<FakeNetwork> {
    const network = new FakeNetwork(policy);
    this.opened.push(network);
    return Promise.resolve(network);
  }
}

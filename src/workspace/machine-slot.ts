import type { PyroError } from "../protocol/index.js";
import type { Shells } from "./shells.js";
import type { WorkspaceMachine } from "./workspace-machine.js";
import type { WorkspaceNetwork } from "./workspace-network.js";
import type { WorkspaceServices } from "./workspace-services.js";

/** Who follows a machine, as long as it is there. */
export interface MachineUsers {
  readonly services: WorkspaceServices;
  readonly shells: Shells;
  readonly network: WorkspaceNetwork;
}

/** Where a workspace's machine is while it has one. Whoever takes it out of here ends it, or lets it go. */
export class MachineSlot {
  #machine: WorkspaceMachine | undefined;
  #lost: Promise<PyroError> | undefined;

  constructor(private readonly users: MachineUsers) {}

  get machine(): WorkspaceMachine | undefined {
    return this.#machine;
  }

  /** How its last machine was lost, once it is. */
  get lost(): Promise<PyroError> | undefined {
    return this.#lost;
  }

  /** @param isFresh nothing ran in it, nor over its disk, before: without a network there is nothing to tell it */
  async attach(machine: WorkspaceMachine, { isFresh }: { readonly isFresh: boolean }): Promise<void> {
    this.#machine = machine;
    this.#lost = machine.lost;
    this.users.services.attach(machine.services);
    await this.users.network.attach(machine.network, isFresh);
  }

  /** From now on it has none: what runs in the one that it had loses it on purpose. */
  take(): WorkspaceMachine | undefined {
    const machine = this.#machine;
    this.#machine = undefined;
    if (machine !== undefined) this.users.network.detach("its machine was stopped");
    return machine;
  }

  /** Ends the machine as a power cut would. */
  async drop(): Promise<void> {
    const machine = this.take();
    this.users.shells.clear();
    await machine?.[Symbol.asyncDispose]();
  }
}

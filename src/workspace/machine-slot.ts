import type { PyroError } from "../protocol/index.js";
import type { Shells } from "./shells.js";
import type { WorkspaceMachine } from "./workspace-machine.js";
import type { WorkspaceServices } from "./workspace-services.js";

/** Where a workspace's machine is while it has one. Whoever takes it out of here ends it, or lets it go. */
export class MachineSlot {
  #machine: WorkspaceMachine | undefined;
  #lost: Promise<PyroError> | undefined;

  constructor(private readonly users: { readonly services: WorkspaceServices; readonly shells: Shells }) {}

  get machine(): WorkspaceMachine | undefined {
    return this.#machine;
  }

  /** How its last machine was lost, once it is. */
  get lost(): Promise<PyroError> | undefined {
    return this.#lost;
  }

  attach(machine: WorkspaceMachine): void {
    this.#machine = machine;
    this.#lost = machine.lost;
    this.users.services.attach(machine.services);
  }

  /** From now on it has none: what runs in the one that it had loses it on purpose. */
  take(): WorkspaceMachine | undefined {
    const machine = this.#machine;
    this.#machine = undefined;
    return machine;
  }

  /** Ends the machine as a power cut would. */
  async drop(): Promise<void> {
    const machine = this.take();
    this.users.shells.clear();
    await machine?.[Symbol.asyncDispose]();
  }
}

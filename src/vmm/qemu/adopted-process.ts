import { sleep } from "../../kit/index.js";
import type { MachineExit } from "../driver.js";
import { endProcess, isAlive, type ProcessIdentity } from "./processes.js";

/** How soon the end of a process that is nobody's child is seen. */
const LOOK_MS = 200;

/** What a machine needs of its process, its own child or not. */
export interface MachineProcess {
  readonly pid: number;
  readonly exited: Promise<MachineExit>;
  /** The last of what it wrote to stderr, as far as that is known. */
  stderrTail(): string;
  /** Ends it at once; resolves when it is gone. */
  close(): Promise<unknown>;
}

/** A process that another one started: how it ends can only be seen, not waited for, and its exit code is not known. */
export class AdoptedProcess implements MachineProcess {
  readonly exited: Promise<MachineExit>;
  readonly #identity: ProcessIdentity;

  constructor(identity: ProcessIdentity) {
    this.#identity = identity;
    this.exited = untilGone(identity);
  }

  get pid(): number {
    return this.#identity.pid;
  }

  stderrTail(): string {
    return "";
  }

  async close(): Promise<void> {
    await endProcess(this.#identity);
    await this.exited;
  }
}

async function untilGone(identity: ProcessIdentity): Promise<MachineExit> {
  while (await isAlive(identity)) await sleep(LOOK_MS);
  return { code: null, signal: null };
}

import type { MachineService, MachineServices } from "../../src/workspace/index.js";
import { guestError } from "./host-files.js";

/** The supervisor of a fake machine: services are entries, and a test says what becomes of them. */
export class FakeSupervisor {
  readonly services = new Map<string, MachineService>();
  readonly specs: Parameters<MachineServices["start"]>[0][] = [];
  readonly logs = new Map<string, { stdout: string; stderr: string; droppedBytes?: number }>();
  #generation = 1n;
  #wake = new Set<() => void>();

  /** A change of one of them; tells whoever waits. */
  change(name: string, change: Partial<MachineService>): MachineService {
    const before = this.services.get(name);
    if (before === undefined) throw guestError("SERVICE_NOT_FOUND", `no service has the name ${name}`);
    const after = { ...before, ...change };
    this.services.set(name, after);
    this.#notify();
    return after;
  }

  /** They are gone, as after a loss of memory. */
  forget(): void {
    this.services.clear();
    this.#notify();
  }

  /** What one connection sees; its end ends the calls. */
  face(over: AbortSignal): MachineServices {
    const alive = ({ state }: MachineService): boolean => state === "starting" || state === "running";
    const find = (name: string): MachineService => {
      over.throwIfAborted();
      const found = this.services.get(name);
      if (found === undefined) throw guestError("SERVICE_NOT_FOUND", `no service has the name ${name}`);
      return found;
    };
    return {
      start: async (spec) => {
        over.throwIfAborted();
        await Promise.resolve();
        const known = this.services.get(spec.name);
        if (known !== undefined && alive(known)) {
          throw guestError("SERVICE_EXISTS", `a service with the name ${spec.name} is ${known.state}`);
        }
        this.specs.push(spec);
        const { name, startId, command, cwd, readiness } = spec;
        const started: MachineService = {
          ...{
            name,
            startId,
            command,
            cwd,
            readiness,
            pid: 100 + this.specs.length,
            startedAtMs: Date.now(),
          },
          state: readiness === undefined ? "running" : "starting",
          ...{ readyAtMs: undefined, endedAtMs: undefined, end: undefined, exitCode: undefined },
          ...{ signal: undefined, outOfMemory: false, failure: "", forked: false },
        };
        this.services.set(name, started);
        this.#notify();
        return started;
      },
      get: async (name, { waitMs, signal }) => {
        find(name);
        await this.#until(() => this.services.get(name)?.state !== "starting", waitMs, [over, signal]);
        return find(name);
      },
      list: async ({ afterGeneration, waitMs, signal }) => {
        over.throwIfAborted();
        await this.#until(() => this.#generation !== afterGeneration, waitMs, [over, signal]);
        return { services: [...this.services.values()], generation: this.#generation };
      },
      logs: async (name) => {
        find(name);
        await Promise.resolve();
        const { stdout, stderr, droppedBytes = 0 } = this.logs.get(name) ?? { stdout: "", stderr: "" };
        const log = (text: string, dropped: number) => {
          const data = Buffer.from(text);
          return { data, totalBytes: data.length + dropped };
        };
        return { stdout: log(stdout, droppedBytes), stderr: log(stderr, 0) };
      },
      rewriteLogs: async ({ name, startId }, { stdout, stderr }) => {
        await Promise.resolve();
        const known = find(name);
        if (known.startId !== startId || alive(known))
          throw guestError("SERVICE_NOT_FOUND", `no service with the name ${name} has ended`);
        const text = ({ data }: { data: Uint8Array }): string => Buffer.from(data).toString();
        this.logs.set(name, { ...this.logs.get(name), stdout: text(stdout), stderr: text(stderr) });
      },
      stop: async (name) => {
        await Promise.resolve();
        const now = find(name);
        if (!alive(now)) return now;
        const { pid: _pid, ...rest } = now;
        const end = { state: "stopped", end: "requested", signal: "SIGTERM", endedAtMs: Date.now() } as const;
        return this.change(name, { ...rest, pid: undefined, ...end });
      },
    };
  }

  #notify(): void {
    this.#generation += 1n;
    for (const wake of this.#wake) wake();
    this.#wake.clear();
  }

  async #until(
    isSo: () => boolean,
    waitMs: number,
    signals: readonly (AbortSignal | undefined)[],
  ): Promise<void> {
    const deadline = Date.now() + waitMs;
    while (!isSo() && Date.now() < deadline) {
      for (const signal of signals) signal?.throwIfAborted();
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.max(1, deadline - Date.now()));
        const go = (): void => {
          clearTimeout(timer);
          for (const signal of signals) signal?.removeEventListener("abort", go);
          resolve();
        };
        this.#wake.add(go);
        for (const signal of signals) signal?.addEventListener("abort", go, { once: true });
      });
      for (const signal of signals) signal?.throwIfAborted();
    }
  }
}

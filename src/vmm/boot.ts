import { sleep, within, type Slots } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { deferred } from "./deferred.js";
import type {
  Machine,
  MachineDiagnostics,
  MachineSpec,
  SavedMachine,
  StartOptions,
  VmmDriver,
} from "./driver.js";
import { lastLines, printable } from "./printable.js";

export interface BootOptions {
  /** Shared by all boots of this host: at most as many at once as it has cores, the rest queue. */
  readonly slots: Slots;
  /** Default: LIMITS.bootTimeoutMs. Counts from this boot's own start, not from its place in the queue. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Goes on from this instead of booting. */
  readonly restore?: SavedMachine;
  /** With `restore`: called when the guest is about to go on, before its agent is spoken to. */
  readonly beforeRun?: () => Promise<void>;
  /** Called when this boot leaves the queue. */
  readonly onStart?: () => void;
}

export interface Booted<T> {
  readonly machine: Machine;
  readonly hello: T;
  /** From this boot's own start to the agent's hello. */
  readonly bootMs: number;
}

/** How often a booting machine is looked at, and how many silent looks (of 2 s each) in a row are too many. */
const LOOK_MS = 1_000;
const SILENT_LOOKS = 3;
/** An agent's connection breaks a moment before the end of its machine is known. */
const LAST_SIGHT_MS = 500;
const DIAGNOSTICS_MS = 3_000;
const CLEAN_UP_MS = 5_000;

/**
 * Starts a machine and waits for `hello`, which connects to the agent (again and again, until its signal aborts).
 * When it fails, the machine is gone.
 * @throws {PyroError} what VmmDriver.start throws; VM_BOOT_TIMEOUT, VM_CRASHED, VM_UNRESPONSIVE, DISK_FULL, the last
 *   lines of console and stderr in message and details; the signal's reason; what `hello` throws
 */
export async function bootMachine<T>(
  driver: VmmDriver,
  spec: MachineSpec,
  hello: (machine: Machine, signal: AbortSignal) => Promise<T>,
  options: BootOptions,
): Promise<Booted<T>> {
  using _slot = await options.slots.take(options.signal);
  options.onStart?.();
  const started = performance.now();
  const watch = new Watchdog(spec.id, options.timeoutMs ?? LIMITS.bootTimeoutMs, options.signal);
  let machine: Machine | undefined;
  let greeting: Promise<T> | undefined;
  const greet = (booting: Machine): Promise<T> => {
    greeting ??= hello(booting, watch.signal);
    // Nobody waits for it where the start fails; the signal ends it then.
    greeting.catch(() => undefined);
    return greeting;
  };
  try {
    machine = await watch.until(driver.start(spec, { signal: watch.signal, ...restoreOf(options, greet) }));
    watch.over(machine);
    const answer = await watch.until(greet(machine));
    return { machine, hello: answer, bootMs: performance.now() - started };
  } catch (error) {
    const reason = await watch.reasonOf(error, machine);
    const known = machine === undefined ? undefined : await diagnose(machine);
    await machine?.kill();
    throw reason instanceof BootFailure ? reason.toError(spec, known) : reason;
  } finally {
    watch.stop();
  }
}

/** A restored machine's agent is greeted before it runs: it finds that when it does. */
function restoreOf(
  { restore, beforeRun }: BootOptions,
  greet: (booting: Machine) => unknown,
): Pick<StartOptions, "restore" | "beforeRun"> {
  if (restore === undefined) return {};
  return {
    restore,
    beforeRun: async (booting) => {
      await beforeRun?.();
      void greet(booting);
    },
  };
}

/** Why a boot failed, before what the machine said is added. */
class BootFailure extends Error {
  constructor(
    readonly code: "VM_BOOT_TIMEOUT" | "VM_CRASHED" | "VM_UNRESPONSIVE" | "DISK_FULL",
    message: string,
    readonly hint: string,
  ) {
    super(message);
  }

  toError({ id, isolation }: MachineSpec, known: MachineDiagnostics | undefined): PyroError {
    const console = lastWords(known?.consoleTail ?? "");
    const stderr = lastLines(known?.stderrTail ?? "", 3);
    const said = [console && `its console ends with:\n${console}`, stderr && `QEMU said:\n${stderr}`].filter(
      Boolean,
    );
    return new PyroError(this.code, [this.message, ...said].join("; "), {
      hint: this.hint,
      details: {
        machine: id,
        isolation,
        console_tail: lastLines(known?.consoleTail ?? "", 60),
        stderr_tail: lastLines(known?.stderrTail ?? "", 40),
      },
      retryable: true,
    });
  }
}

/** The last lines of a console; a panic ends with a trace, but what it was stands before that. */
function lastWords(consoleTail: string): string {
  const panic = /Kernel panic - .*/.exec(printable(consoleTail))?.[0];
  const lines = lastLines(consoleTail, 5);
  return panic === undefined || lines.includes(panic) ? lines : `${panic}\n…\n${lines}`;
}

/** Ends the waits of one boot: at its deadline, at the caller's wish, or when the machine dies, stops or hangs. */
class Watchdog {
  readonly #stop = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly signal: AbortSignal;

  constructor(
    readonly id: string,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ) {
    this.signal = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]);
    this.#timer = setTimeout(
      () => this.#fail("VM_BOOT_TIMEOUT", `machine ${id} did not reach its agent within ${timeoutMs} ms`),
      timeoutMs,
    );
  }

  /** Waits for a step, or throws why the boot is over. The step gets our signal and ends by itself. */
  async until<T>(step: Promise<T>): Promise<T> {
    const aborted = deferred<never>();
    const onAbort = (): void => aborted.reject(this.signal.reason as Error);
    this.signal.addEventListener("abort", onAbort, { once: true });
    try {
      this.signal.throwIfAborted();
      return await Promise.race([step, aborted.promise]);
    } catch (error) {
      // An abandoned start must be gone before the caller hears of it; it cleans up on abort.
      const gone = step.then((late) => (isMachine(late) ? late.kill() : undefined));
      await within(gone, CLEAN_UP_MS, "clean-up").catch(() => undefined);
      throw error;
    } finally {
      this.signal.removeEventListener("abort", onAbort);
    }
  }

  /** Watches the machine from now on. */
  over(machine: Machine): void {
    void machine.exited.then(({ code, signal }) => {
      this.#fail(
        "VM_CRASHED",
        `machine ${this.id} ended while it booted (${signal ?? `exit ${code ?? "?"}`})`,
      );
    });
    void this.#look(machine).catch(() => undefined);
  }

  /** The cause behind an error: a broken connection means little when the machine ended in the same moment. */
  async reasonOf(error: unknown, machine: Machine | undefined): Promise<unknown> {
    if (machine !== undefined && !this.signal.aborted) {
      await within(machine.exited, LAST_SIGHT_MS, "exit").catch(() => undefined);
    }
    return this.signal.aborted ? this.signal.reason : error;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#stop.abort(new Error("the boot is over"));
  }

  async #look(machine: Machine): Promise<void> {
    for (let silent = 0; silent < SILENT_LOOKS;) {
      await sleep(LOOK_MS, this.signal);
      const status = await machine.status();
      // Also empties the console into the tail, so that a sudden death leaves its last words.
      if (status === "running") await machine.diagnostics();
      if (status === "io-error")
        this.#fail("DISK_FULL", `machine ${this.id} stopped: the host's disk is full`);
      silent = status === "unresponsive" || status === "paused" ? silent + 1 : 0;
    }
    this.#fail("VM_UNRESPONSIVE", `machine ${this.id} is stopped or hangs: QEMU does not run it`);
  }

  #fail(code: BootFailure["code"], message: string): void {
    this.#stop.abort(new BootFailure(code, message, HINTS[code]));
  }
}

const HINTS: Readonly<Record<BootFailure["code"], string>> = {
  VM_BOOT_TIMEOUT:
    "is the host overloaded? try again; `pyro doctor` boots a probe machine and shows what works",
  VM_CRASHED: "try again; `pyro doctor` boots a probe machine and shows what works",
  VM_UNRESPONSIVE: "was its process stopped, or is the host overloaded? try again",
  DISK_FULL: "free some space (`pyro env prune` removes what nothing uses), then try again",
};

function isMachine(value: unknown): value is Machine {
  return typeof value === "object" && value !== null && "agentSocket" in value && "kill" in value;
}

async function diagnose(machine: Machine): Promise<MachineDiagnostics | undefined> {
  return within(machine.diagnostics(), DIAGNOSTICS_MS, "diagnostics").catch(() => undefined);
}

import { chmod, open, rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { dirname, join } from "node:path";
import { DeadlineError, failpoint, shortSocketPath, sleep, syncDirectory, within } from "../../kit/index.js";
import { LIMITS, PyroError } from "../../protocol/index.js";
import { deferred } from "../deferred.js";
import { QmpClosed, type QmpClient, type QmpEvent } from "./qmp.js";

/**
 * Saving and loading a machine's device state, by QEMU's migration. RAM stays where it is: it is a file, which
 * `x-ignore-shared` (QEMU 4.1) leaves out of the stream. QEMU connects to a socket of ours to save, since its sandbox
 * forbids `exec:`; it reads from an inherited descriptor to load.
 */

export const SAVE_SOCKET = "save.sock";

const IGNORE_SHARED = "x-ignore-shared";
const CAPABILITIES = [IGNORE_SHARED, "events"].map((capability) => ({ capability, state: true }));

/** The end of one migration, told by its events. */
export class MigrationEnd {
  readonly #end = deferred<"completed" | "failed">();

  onEvent({ name, data }: QmpEvent): void {
    const { status } = data;
    if (name !== "MIGRATION" || typeof status !== "string") return;
    if (status === "completed") this.#end.resolve("completed");
    else if (status === "failed" || status === "cancelled") this.#end.resolve("failed");
  }

  /** However it ends, or once so much time has passed. */
  async settled(timeoutMs: number): Promise<void> {
    await within(this.#end.promise, timeoutMs, "migration").catch(() => undefined);
  }

  /** @throws {MigrationFailed} */
  async wait(qmp: QmpClient, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const closed = qmp.closed.then((reason) => {
      throw reason;
    });
    const end = await within(Promise.race([this.#end.promise, closed]), timeoutMs, "migration", signal);
    if (end === "failed") throw new MigrationFailed(await failureOf(qmp));
  }
}

/** How long a save that failed is waited for to be over, … */
const SETTLE_MS = 2_000;
/** … and how often QEMU is asked. */
const SETTLE_LOOK_MS = 10;

/** What QEMU says of a migration that failed. */
export class MigrationFailed extends Error {
  override readonly name = "MigrationFailed";
}

export interface LoadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly beforeRun?: (() => Promise<void> | undefined) | undefined;
}

/**
 * Loads the state that lies behind a descriptor of QEMU's, and lets the guest run once `beforeRun` has resolved.
 * @throws {MigrationFailed}, {QmpClosed}, {DeadlineError}, {PyroError}; what `beforeRun` rejects with
 */
export async function loadState(
  qmp: QmpClient,
  end: MigrationEnd,
  descriptor: number,
  { signal, beforeRun }: LoadOptions = {},
): Promise<void> {
  const timeoutMs = LIMITS.saveTimeoutMs;
  failpoint("restore.loading");
  // In one go: QEMU answers in order, and none needs the answer of another.
  await Promise.all([
    qmp.execute("migrate-set-capabilities", { capabilities: CAPABILITIES }, timeoutMs),
    qmp.execute("migrate-incoming", { uri: `fd:${descriptor}` }, timeoutMs),
  ]);
  await end.wait(qmp, timeoutMs, signal);
  failpoint("restore.loaded");
  await beforeRun?.();
  await qmp.execute("cont", {}, timeoutMs);
}

/**
 * Writes the state of a stopped machine to a new file, durably.
 * @param directory the machine's own, where QEMU works
 * @throws {PyroError} VM_SAVE_FAILED, VM_UNRESPONSIVE, DISK_FULL; nothing is left then
 */
export async function saveState(
  qmp: QmpClient,
  end: MigrationEnd,
  directory: string,
  stateFile: string,
): Promise<void> {
  let isBegun = false;
  try {
    failpoint("save.stopped");
    await requireIgnoreShared(qmp);
    await qmp.execute("migrate-set-capabilities", { capabilities: CAPABILITIES }, LIMITS.saveTimeoutMs);
    await using receiver = await receive(directory);
    isBegun = true;
    await qmp.execute("migrate", { uri: `unix:${SAVE_SOCKET}` }, LIMITS.saveTimeoutMs);
    failpoint("save.migrating");
    const socket = await within(receiver.socket, LIMITS.saveTimeoutMs, "QEMU's connection");
    const written = writeState(socket, stateFile);
    written.catch(() => undefined);
    await Promise.all([
      end.wait(qmp, LIMITS.saveTimeoutMs),
      within(written, LIMITS.saveTimeoutMs, "the state"),
    ]);
    failpoint("save.written");
    await syncDirectory(dirname(stateFile));
  } catch (error) {
    await rm(stateFile, { force: true });
    if (isBegun) await finalized(qmp, end);
    throw saveFailure(error);
  }
}

/** Until a save that failed is over, QEMU lets no machine go on: "Migration is not finalized yet". */
async function finalized(qmp: QmpClient, end: MigrationEnd): Promise<void> {
  const deadline = performance.now() + SETTLE_MS;
  await end.settled(SETTLE_MS);
  while (performance.now() < deadline) {
    const said = await qmp.execute("query-status", {}, SETTLE_MS).catch(() => undefined);
    if ((said as { status?: unknown } | undefined)?.status !== "finish-migrate") return;
    await sleep(SETTLE_LOOK_MS);
  }
}

async function requireIgnoreShared(qmp: QmpClient): Promise<void> {
  const list = await qmp.execute("query-migrate-capabilities", {}, LIMITS.saveTimeoutMs);
  const has = (item: unknown): boolean =>
    (item as { capability?: unknown } | null)?.capability === IGNORE_SHARED;
  if (!Array.isArray(list) || !list.some(has)) throw new MigrationFailed(`it has no ${IGNORE_SHARED}`);
}

async function failureOf(qmp: QmpClient): Promise<string> {
  const facts = await qmp.execute("query-migrate", {}, LIMITS.saveTimeoutMs).catch(() => undefined);
  const description = (facts as { "error-desc"?: unknown } | undefined)?.["error-desc"];
  return typeof description === "string" ? description : "it says no reason";
}

/** Where QEMU connects to, once. Its user owns the directory and nobody else enters it, so the socket may be open. */
async function receive(directory: string): Promise<{ socket: Promise<Socket> } & AsyncDisposable> {
  const path = join(directory, SAVE_SOCKET);
  await rm(path, { force: true });
  const first = deferred<Socket>();
  const server = createServer({ pauseOnConnect: true }, (socket) => first.resolve(socket));
  await using short = await shortSocketPath(path);
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(short.path, resolve));
  await chmod(path, 0o666);
  return {
    socket: first.promise,
    [Symbol.asyncDispose]: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      first.reject(new Error("nobody waits any more"));
      await first.promise.then(
        (socket) => socket.destroy(),
        () => undefined,
      );
      await closed;
      await rm(path, { force: true });
    },
  };
}

async function writeState(socket: Socket, stateFile: string): Promise<void> {
  const file = await open(stateFile, "wx", 0o600);
  try {
    let size = 0;
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > LIMITS.machineStateBytes) {
        throw new MigrationFailed(`its state has more than ${LIMITS.machineStateBytes} bytes`);
      }
      await file.writeFile(chunk);
    }
    await file.sync();
  } finally {
    socket.destroy();
    await file.close();
  }
}

function saveFailure(error: unknown): PyroError {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new PyroError("DISK_FULL", "the disk is full: the state of a machine cannot be saved", {
      hint: "free some space (`pyro env prune` removes what nothing uses), then try again",
      cause: error,
      retryable: true,
    });
  }
  if (error instanceof DeadlineError) {
    return new PyroError("VM_UNRESPONSIVE", `QEMU hangs while it saves a machine: ${error.message}`, {
      hint: "is the host overloaded? try again",
      cause: error,
      retryable: true,
    });
  }
  const reason =
    error instanceof QmpClosed ? "it ended" : error instanceof Error ? error.message : String(error);
  return new PyroError("VM_SAVE_FAILED", `QEMU does not save the machine: ${reason}`, {
    hint: "machines start without a template instead; `pyro doctor` shows which QEMU is used",
    cause: error,
  });
}

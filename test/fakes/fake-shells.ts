import type { MachineShells, ShellPiece } from "../../src/workspace/index.js";
import { guestError } from "./host-files.js";

type Shell = Awaited<ReturnType<MachineShells["open"]>>;
type Size = { offset: number; cols: number; rows: number };

/** A terminal that echoes; "exit N" and Enter ends it. Tests show more by `show`. */
class FakeShell {
  bytes = Buffer.alloc(0);
  /** Bytes that are not kept any more. */
  dropped = 0;
  sizes: Size[];
  exit: { exitCode?: number; signal?: string } | undefined;
  readonly signals: string[] = [];
  readonly env: readonly string[];
  /** How much of an input it takes. */
  takes = Number.POSITIVE_INFINITY;
  readonly wakes = new Set<() => void>();

  constructor(readonly spec: Parameters<MachineShells["open"]>[0]) {
    this.sizes = [{ offset: 0, cols: spec.cols, rows: spec.rows }];
    this.env = spec.env.map((entry) => Buffer.from(entry).toString());
  }

  show(data: string | Uint8Array): void {
    this.bytes = Buffer.concat([this.bytes, Buffer.from(data)]);
    this.wake();
  }

  end(exit: { exitCode?: number; signal?: string }): void {
    this.exit ??= exit;
    this.wake();
  }

  wake(): void {
    for (const wake of this.wakes) wake();
    this.wakes.clear();
  }

  info(): Shell {
    const { shellId, cwd } = this.spec;
    const { cols, rows } = this.sizes.at(-1) ?? this.spec;
    const argv = this.spec.argv.map((word) => Buffer.from(word).toString());
    return {
      ...{ shellId, cwd, cols, rows, isRunning: this.exit === undefined, openedAtMs: 1_000 },
      ...{ exitCode: this.exit?.exitCode, signal: this.exit?.signal },
      argv: argv.length === 0 ? ["bash", "-l"] : argv,
      ...{ totalBytes: this.bytes.length, firstByte: this.dropped },
    };
  }
}

/** What one machine's agent knows of shells, whoever is connected. */
export class FakeShells {
  readonly all = new Map<string, FakeShell>();
  /** What each was opened with. */
  readonly opened: Parameters<MachineShells["open"]>[0][] = [];
  /** How a wait for idleness ends. */
  idle: "quiet" | "input" | "exited" | "timeout" = "input";

  get one(): FakeShell {
    const last = [...this.all.values()].at(-1);
    if (last === undefined) throw new Error("no shell is open");
    return last;
  }

  /** The machine is gone. */
  end(): void {
    for (const shell of this.all.values()) shell.wake();
  }

  connect(step: (name: string) => Promise<void>, ended: AbortSignal): MachineShells {
    const find = (shellId: string): FakeShell => {
      const found = this.all.get(shellId);
      if (found === undefined) throw guestError("SHELL_NOT_FOUND", `there is no shell "${shellId}"`);
      return found;
    };
    const before = async (name: string): Promise<void> => {
      await step(name);
      ended.throwIfAborted();
    };
    return {
      open: async (spec) => {
        await before("shell.open");
        this.opened.push(spec);
        const shell = new FakeShell(spec);
        this.all.set(spec.shellId, shell);
        shell.show("$ ");
        return shell.info();
      },
      list: async () => {
        await before("shell.list");
        return [...this.all.values()].map((shell) => shell.info());
      },
      read: (shellId, reading) => this.#read(find(shellId), reading, ended),
      write: async (shellId, data) => {
        await before("shell.write");
        const shell = find(shellId);
        if (shell.exit !== undefined) throw guestError("SHELL_EXITED", `shell "${shellId}" has exited`);
        const text = Buffer.from(data.subarray(0, shell.takes)).toString();
        shell.show(text.replaceAll("\r", "\r\n"));
        const code = /exit (\d+)\r/.exec(text)?.[1];
        if (code !== undefined) shell.end({ exitCode: Number(code) });
        return Math.min(data.length, shell.takes);
      },
      signal: async (shellId, name) => {
        await before("shell.signal");
        find(shellId).signals.push(name);
      },
      resize: async (shellId, size) => {
        await before("shell.resize");
        const shell = find(shellId);
        shell.sizes.push({ offset: shell.bytes.length, ...size });
        shell.wake();
        return shell.info();
      },
      rewrite: async (shellId, offset, data) => {
        await before("shell.rewrite");
        const { bytes, exit } = find(shellId);
        if (exit === undefined) throw guestError("SHELL_NOT_FOUND", `no shell "${shellId}" has exited`);
        Buffer.from(data).copy(bytes, offset);
      },
      close: async (shellId) => {
        await before("shell.close");
        const shell = this.all.get(shellId);
        shell?.end({ signal: "SIGHUP" });
        this.all.delete(shellId);
        return shell?.info();
      },
    };
  }

  async *#read(
    shell: FakeShell,
    { offset, follow = false, waitForIdleMs = 0, maxBytes = 0, signal }: Parameters<MachineShells["read"]>[1],
    ended: AbortSignal,
  ): AsyncGenerator<ShellPiece> {
    if (offset > shell.bytes.length) throw guestError("INVALID_ARGUMENT", "beyond the end");
    yield { kind: "sizes", sizes: [...shell.sizes] };
    let at = Math.max(offset, shell.dropped);
    for (;;) {
      ended.throwIfAborted();
      signal?.throwIfAborted();
      const data = shell.bytes.subarray(at, maxBytes === 0 ? undefined : offset + maxBytes);
      if (data.length > 0) yield { kind: "data", offset: at, data };
      at += data.length;
      if (!follow || (shell.exit !== undefined && at >= shell.bytes.length)) break;
      await new Promise<void>((resolve) => {
        shell.wakes.add(resolve);
        signal?.addEventListener("abort", () => resolve(), { once: true });
        ended.addEventListener("abort", () => resolve(), { once: true });
      });
    }
    yield { kind: "end", shell: shell.info(), idle: waitForIdleMs > 0 ? this.idle : undefined };
  }
}

import { PyroError } from "../protocol/index.js";
import type { CallOptions } from "./call.js";
import { attachStream, type AttachShellOptions, type ShellAttachment } from "./shell-attach.js";
import { toShellOutput, toShellRecord, type ShellOutput, type ShellRecord } from "./shell-record.js";
import { WorkspaceServiceCalls } from "./workspace-service-calls.js";

export interface OpenShellOptions {
  readonly workspaceId: string;
  /** Default /workspace; relative paths lie under it. */
  readonly cwd?: string | undefined;
  /** Default 120 and 30. */
  readonly cols?: number | undefined;
  readonly rows?: number | undefined;
  /** A program instead of a login shell. */
  readonly argv?: readonly (string | Uint8Array)[] | undefined;
  /** Secrets of the workspace that it is given, each by the name of its variable: {secret: variable}. */
  readonly secretEnv?: Readonly<Record<string, string>> | undefined;
}

/** A shell, by its id or a unique prefix of it. */
export interface ShellReference {
  readonly workspaceId: string;
  readonly shellId: string;
}

export interface ReadShellOptions extends ShellReference {
  /** 0, or a `nextCursor`. */
  readonly cursor?: number | undefined;
  /** At most 65,536, which is the default. */
  readonly maxChars?: number | undefined;
  /** As a person would see it: lines that left the screen since the cursor, then the screen. */
  readonly plain?: boolean | undefined;
  /** Waits until nothing was shown for so long, or the program waits for input; default: not at all. */
  readonly waitForIdleMs?: number | undefined;
  /** … but never longer than this; default and bound 40 s. */
  readonly waitMs?: number | undefined;
}

/** A shell as an object. Disposing of it closes it, with all that it started. */
export interface Shell extends AsyncDisposable {
  readonly shellId: string;
  /** What it showed since the last read of this object. */
  read(options?: Omit<ReadShellOptions, keyof ShellReference>, call?: CallOptions): Promise<ShellOutput>;
  /** Types as it is given: "\r" is the Enter key. */
  write(input: string | Uint8Array, call?: CallOptions): Promise<ShellRecord>;
  signal(name: string, call?: CallOptions): Promise<ShellRecord>;
  resize(size: { readonly cols: number; readonly rows: number }, call?: CallOptions): Promise<ShellRecord>;
  attach(options?: Omit<AttachShellOptions, keyof ShellReference>, call?: CallOptions): ShellAttachment;
  close(call?: CallOptions): Promise<ShellRecord>;
}

/** The calls about shells: persistent terminals in the machines of workspaces. */
export abstract class ShellCalls extends WorkspaceServiceCalls {
  /** Opens a shell; it lives until it is closed, or its workspace stops, is reset or deleted. */
  async openShell(options: OpenShellOptions, call: CallOptions = {}): Promise<ShellRecord> {
    const { workspaceId: workspace, cwd = "", cols = 0, rows = 0, argv = [] } = options;
    const secretEnv = { ...options.secretEnv };
    const request = { workspace, cwd, cols, rows, argv: argv.map(toBytes), secretEnv };
    return await this.client.call("shell", "opening a shell", call, async (shell, { signal }) =>
      toShellRecord(await shell.openShell(request, { signal })),
    );
  }

  /** In the order in which they were opened. */
  async listShells(workspaceId: string, call: CallOptions = {}): Promise<readonly ShellRecord[]> {
    return await this.client.call("shell", "listing the shells", call, async (shell, { signal }) =>
      (await shell.listShells({ workspace: workspaceId }, { signal })).shells.map(toShellRecord),
    );
  }

  /** What a shell's terminal showed from a cursor on, or what a person would see. */
  async readShell(options: ReadShellOptions, call: CallOptions = {}): Promise<ShellOutput> {
    const { cursor = 0, maxChars = 0, plain = false, waitForIdleMs = 0, waitMs = 0 } = options;
    if (!Number.isSafeInteger(cursor) || cursor < 0) {
      throw new PyroError("INVALID_ARGUMENT", `cursor is ${cursor}`, { hint: "give 0, or a nextCursor" });
    }
    const request = { ...named(options), cursor: BigInt(cursor), maxChars, plain, waitForIdleMs, waitMs };
    return await this.client.call("shell", "reading the shell", call, async (shell, { signal }) =>
      toShellOutput(await shell.readShell(request, { signal }), plain),
    );
  }

  /** Types into a shell, as it is given: "\r" is the Enter key. */
  async writeShell(
    options: ShellReference & { readonly input: string | Uint8Array },
    call: CallOptions = {},
  ): Promise<ShellRecord> {
    const request = { ...named(options), data: toBytes(options.input) };
    return await this.client.call("shell", "writing to the shell", call, async (shell, { signal }) =>
      toShellRecord(await shell.writeShell(request, { signal })),
    );
  }

  /** Sends a signal to what runs in the foreground of a shell's terminal; default "INT". */
  async signalShell(
    options: ShellReference & { readonly signalName?: string | undefined },
    call: CallOptions = {},
  ): Promise<ShellRecord> {
    const request = { ...named(options), signal: options.signalName ?? "INT" };
    return await this.client.call("shell", "signalling the shell", call, async (shell, { signal }) =>
      toShellRecord(await shell.signalShell(request, { signal })),
    );
  }

  async resizeShell(
    options: ShellReference & { readonly cols: number; readonly rows: number },
    call: CallOptions = {},
  ): Promise<ShellRecord> {
    const request = { ...named(options), cols: options.cols, rows: options.rows };
    return await this.client.call("shell", "resizing the shell", call, async (shell, { signal }) =>
      toShellRecord(await shell.resizeShell(request, { signal })),
    );
  }

  /** Ends a shell with all that it started, and forgets its output. */
  async closeShell(options: ShellReference, call: CallOptions = {}): Promise<ShellRecord> {
    return await this.client.call("shell", "closing the shell", call, async (shell, { signal }) =>
      toShellRecord(await shell.closeShell(named(options), { signal })),
    );
  }

  /** A terminal on a shell: its picture first, then what comes, over a daemon's death too. */
  attachShell(options: AttachShellOptions, call: CallOptions = {}): ShellAttachment {
    return attachStream(this.client, options, call);
  }

  /** Opens a shell, and gives it as an object. */
  async shell(options: OpenShellOptions, call: CallOptions = {}): Promise<Shell> {
    const { workspaceId, shellId } = await this.openShell(options, call);
    const own = { workspaceId, shellId };
    let cursor = 0;
    return {
      shellId,
      read: async (read = {}, at) => {
        const output = await this.readShell({ cursor, ...read, ...own }, at);
        cursor = output.nextCursor;
        return output;
      },
      write: async (input, at) => await this.writeShell({ ...own, input }, at),
      signal: async (signalName, at) => await this.signalShell({ ...own, signalName }, at),
      resize: async (size, at) => await this.resizeShell({ ...own, ...size }, at),
      attach: (attach = {}, at) => this.attachShell({ ...attach, ...own }, at),
      close: async (at) => await this.closeShell(own, at),
      [Symbol.asyncDispose]: async () => {
        try {
          await this.closeShell(own);
        } catch (error) {
          if (!GONE.includes(PyroError.from(error).code)) throw error;
        }
      },
    };
  }
}

/** Then there is nothing to close any more. */
const GONE: readonly string[] = [
  "SHELL_NOT_FOUND",
  "WORKSPACE_NOT_FOUND",
  "WORKSPACE_STOPPED",
  "WORKSPACE_DELETED",
];

function toBytes(value: string | Uint8Array): Uint8Array {
  return typeof value === "string" ? Buffer.from(value) : value;
}

function named({ workspaceId, shellId }: ShellReference): { workspace: string; shell: string } {
  return { workspace: workspaceId, shell: shellId };
}

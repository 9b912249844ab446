/**
 * `pyro-mcp/mastra`: a workspace as the sandbox of a Mastra workspace. The types are Mastra's own by their structure;
 * nothing of the package `@mastra/core` is imported.
 */
import { shellQuoted } from "../kit/index.js";
import type { CreateWorkspaceOptions, Pyro } from "../sdk/index.js";
import { exitStatus, runCommand } from "./shared/command.js";
import { checkPeer } from "./shared/peer.js";

checkPeer("@mastra/core");

interface CommandOptions {
  /** Milliseconds; a command that takes longer is killed. Default 600 s. */
  readonly timeout?: number | undefined;
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  readonly cwd?: string | undefined;
  readonly onStdout?: ((data: string) => void) | undefined;
  readonly onStderr?: ((data: string) => void) | undefined;
  readonly abortSignal?: AbortSignal | undefined;
}

interface CommandResult {
  success: boolean;
  exitCode: number;
  stdout: string;
  stderr: string;
  executionTimeMs: number;
  timedOut: boolean;
  killed: boolean;
  stdoutTruncated: boolean;
  stderrTruncated: boolean;
  command: string;
  args: string[];
}

type Status =
  "pending" | "starting" | "running" | "stopping" | "stopped" | "destroying" | "destroyed" | "error";

/** Mastra's `WorkspaceSandbox`. */
export interface PyroSandbox extends AsyncDisposable {
  readonly id: string;
  readonly name: string;
  readonly provider: string;
  status: Status;
  /** Makes the workspace, or starts it again after `stop`. */
  start(): Promise<{ outcome: "created" | "connected" }>;
  stop(): Promise<void>;
  /** Deletes the workspace. */
  destroy(): Promise<void>;
  /** Keeps nothing: pyro's snapshots lie in the workspace and go with it. */
  snapshot(): Promise<void>;
  getInstructions(): string;
  executeCommand(command: string, args?: string[], options?: CommandOptions): Promise<CommandResult>;
  writeFiles(files: { path: string; content: string | Uint8Array; mode?: number }[]): Promise<void>;
}

/**
 * A sandbox for `new Workspace({ sandbox })`: it makes a workspace of pyro when it is first used, and `destroy` (or
 * disposing of it) deletes that. Commands start in /workspace; of each stream the head and the tail of 1 MiB are kept.
 */
export function pyroSandbox(pyro: Pyro, options: CreateWorkspaceOptions): PyroSandbox {
  let workspaceId: string | undefined;
  let starting: Promise<{ outcome: "created" | "connected" }> | undefined;
  const begin = async (): Promise<{ outcome: "created" | "connected" }> => {
    sandbox.status = "starting";
    try {
      const outcome = workspaceId === undefined ? "created" : "connected";
      if (workspaceId === undefined) ({ workspaceId } = await pyro.createWorkspace(options));
      else await pyro.startWorkspace(workspaceId);
      sandbox.status = "running";
      return { outcome };
    } catch (error) {
      sandbox.status = "error";
      starting = undefined;
      throw error;
    }
  };
  /** The workspace's id, once it runs. */
  const running = async (): Promise<string> => {
    await sandbox.start();
    return workspaceId as string;
  };
  const sandbox: PyroSandbox = {
    ...{
      id: options.name ?? `pyro-${crypto.randomUUID()}`,
      name: "pyro",
      provider: "pyro",
      status: "pending",
    },
    start: () => (starting ??= begin()),
    stop: async () => {
      await starting;
      starting = undefined;
      if (workspaceId !== undefined) await pyro.stopWorkspace(workspaceId);
      sandbox.status = "stopped";
    },
    destroy: async () => {
      await starting?.catch(() => undefined);
      starting = undefined;
      if (workspaceId !== undefined) await pyro.deleteWorkspace(workspaceId);
      workspaceId = undefined;
      sandbox.status = "destroyed";
    },
    [Symbol.asyncDispose]: () => sandbox.destroy(),
    snapshot: () => Promise.resolve(),
    getInstructions: () =>
      "Commands run in a Linux virtual machine of their own and start in /workspace, by /bin/sh. What it may reach of the network is its maker's choice; the default is nothing.",
    executeCommand: async (command, args = [], { timeout, env = {}, cwd, abortSignal, ...hooks } = {}) => {
      const line = [command, ...args.map(shellQuoted)].join(" ");
      const result = await runCommand(
        pyro,
        {
          ...{ workspaceId: await running(), command: line, cwd },
          env: Object.fromEntries(
            Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
          ),
          timeoutSeconds: timeout === undefined ? undefined : Math.max(1, Math.ceil(timeout / 1000)),
        },
        { signal: abortSignal, onStdout: decoded(hooks.onStdout), onStderr: decoded(hooks.onStderr) },
      );
      const { stdout, stderr, stdoutTruncated, stderrTruncated, timedOut, signal, durationMs } = result;
      const exitCode = exitStatus(result);
      return {
        ...{ success: exitCode === 0, exitCode, stdout, stderr, stdoutTruncated, stderrTruncated, timedOut },
        ...{ killed: signal !== null, executionTimeMs: durationMs, command, args },
      };
    },
    writeFiles: async (files) => {
      const workspaceId = await running();
      for (const { path, content, mode } of files) {
        await pyro.writeWorkspaceFile({ workspaceId, path, content });
        if (mode === undefined) continue;
        await runCommand(pyro, { workspaceId, argv: ["chmod", mode.toString(8), path] });
      }
    },
  };
  return sandbox;
}

/** Hears bytes as text: a character that is cut in two is told when its end comes. */
function decoded(hear: ((text: string) => void) | undefined): ((data: Uint8Array) => void) | undefined {
  if (hear === undefined) return undefined;
  const decoder = new TextDecoder();
  return (data) => hear(decoder.decode(data, { stream: true }));
}

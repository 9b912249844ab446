import type { CallToolResult } from "@modelcontextprotocol/server";
import { isOperation, type Declaration } from "../operations/index.js";
import { Pyro, type NetworkOptions, type PyroOptions, type WorkspaceSource } from "../sdk/index.js";
import { diffHandler, diskReadHandler, execHandler, fileReadHandler, logsHandler } from "./bulk-tools.js";
import type { Caller } from "./caller.js";
import type { HostRoots } from "./host-path.js";
import { recordHandler } from "./record-tools.js";
import { errorResult } from "./result.js";
import { serviceLogsHandler } from "./service-tools.js";
import { shellReadHandler } from "./shell-tools.js";
import { TimeLimits } from "./time-limits.js";
import type { ToolCall, ToolHandler, ToolSetting } from "./tool.js";
import { vmExecHandler } from "./vm-exec.js";
import { vmRunHandler } from "./vm-run.js";

export interface CallsOptions extends ToolSetting {
  readonly pyro: PyroOptions;
  readonly tools: readonly Declaration[];
  /** No call takes longer, in milliseconds. */
  readonly blockMs: number;
  readonly roots: HostRoots;
  readonly defaultSource: WorkspaceSource | undefined;
  readonly network: NetworkOptions | undefined;
  /** Whether all clients went away. */
  readonly isLeft: () => boolean;
}

/** How long calls in flight may take to end what they started, when the server is closed. */
const CLOSING_MS = 2_000;

/** The calls of one server's tools, with its client of the daemon. Loaded with the first call. */
export class Calls implements AsyncDisposable {
  readonly #options: CallsOptions;
  readonly #pyro: Pyro;
  readonly #handlers: ReadonlyMap<string, ToolHandler>;
  readonly #inFlight = new Set<Promise<unknown>>();

  constructor(options: CallsOptions) {
    this.#options = options;
    this.#pyro = new Pyro(options.pyro);
    const limits = new TimeLimits();
    this.#handlers = new Map(options.tools.map((tool) => [tool.name, handlerOf(tool, options, limits)]));
  }

  /** Answers one call of an operation. */
  async run(name: string, args: unknown, caller: Caller): Promise<CallToolResult> {
    const handler = this.#handlers.get(name);
    if (handler === undefined) throw new Error(`no handler for ${name}`);
    return await this.answer((call) => handler(args, call), args, caller);
  }

  /** Answers one call by what the work gives; a failure is an answer too. */
  async answer<Result>(
    body: (call: ToolCall) => Promise<Result>,
    args: unknown,
    caller: Caller,
  ): Promise<Result | CallToolResult> {
    const { blockMs, roots, defaultSource, network, isLeft } = this.#options;
    const work = body({
      ...{ pyro: this.#pyro, blockMs, defaultSource, network },
      isLeft: () => isLeft() || caller.isGone(),
      signal: caller.signal,
      onProgress: (message) => caller.say(message),
      hostPath: (path) => roots.resolve(path),
    }).catch((error: unknown) => errorResult(error, args));
    this.#inFlight.add(work);
    try {
      return await work;
    } finally {
      this.#inFlight.delete(work);
    }
  }

  /** Waits, not for long, until the calls that were aborted ended what they started. */
  async settle(): Promise<void> {
    const late = new Promise((resolve) => setTimeout(resolve, CLOSING_MS).unref());
    await Promise.race([Promise.allSettled(this.#inFlight), late]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pyro[Symbol.asyncDispose]();
  }
}

/** Bulk text has handlers of its own; all else is a record. */
function handlerOf(tool: Declaration, setting: ToolSetting, limits: TimeLimits): ToolHandler {
  const own = BULK_TEXT[tool.name];
  if (own !== undefined) return own(setting, limits);
  if (!isOperation(tool)) throw new Error(`no handler for ${tool.name}`);
  const handler = recordHandler(tool, setting);
  return tool.name === "workspace_logs" ? logsHandler(setting, limits, handler) : handler;
}

const BULK_TEXT: Readonly<Record<string, (setting: ToolSetting, limits: TimeLimits) => ToolHandler>> = {
  vm_run: vmRunHandler,
  vm_exec: vmExecHandler,
  workspace_exec: execHandler,
  workspace_file_read: fileReadHandler,
  workspace_disk_read: diskReadHandler,
  workspace_diff: diffHandler,
  service_logs: serviceLogsHandler,
  shell_read: shellReadHandler,
};

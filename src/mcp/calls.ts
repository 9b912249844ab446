import type { CallToolResult, ServerContext } from "@modelcontextprotocol/server";
import { Pyro, type PyroOptions } from "../sdk/index.js";
import { callProgress } from "./progress.js";
import { errorResult } from "./result.js";
import type { ToolHandler } from "./tool.js";
import { vmRunHandler } from "./vm-run.js";

export interface CallsOptions {
  readonly pyro: PyroOptions;
  /** Taken when a call names none. */
  readonly environment: string;
  /** No call takes longer, in milliseconds. */
  readonly blockMs: number;
}

/** How long calls in flight may take to end what they started, when the server is closed. */
const CLOSING_MS = 2_000;

/** The calls of one server's tools, with its client of the daemon. Loaded with the first call. */
export class Calls implements AsyncDisposable {
  readonly #pyro: Pyro;
  readonly #blockMs: number;
  readonly #handlers: Readonly<Record<string, ToolHandler>>;
  readonly #inFlight = new Set<Promise<unknown>>();

  constructor({ pyro, environment, blockMs }: CallsOptions) {
    this.#pyro = new Pyro(pyro);
    this.#blockMs = blockMs;
    this.#handlers = { vm_run: vmRunHandler(environment) };
  }

  /** Answers one call; a failure is an answer too. */
  async run(name: string, args: unknown, context: ServerContext): Promise<CallToolResult> {
    const handler = this.#handlers[name];
    if (handler === undefined) throw new Error(`no handler for ${name}`);
    using progress = callProgress(context);
    const work = handler(args, {
      pyro: this.#pyro,
      signal: context.mcpReq.signal,
      onProgress: (message) => progress.say(message),
      blockMs: this.#blockMs,
    }).catch(errorResult);
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

import type { McpServer, ServerContext } from "@modelcontextprotocol/server";
import type { Readable, Writable } from "node:stream";
import { thisBuild } from "../kit/index.js";
import {
  DEFAULT_ENVIRONMENT,
  ENVIRONMENTS_LINE,
  PROFILES,
  toolsOf,
  type Declaration,
  type Profile,
} from "../operations/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { PyroOptions } from "../sdk/index.js";
import type { Calls } from "./calls.js";
import { hintsOf, listed, toolInput } from "./tool.js";

export interface ServerOptions extends PyroOptions {
  /** The set of tools; default "vm-run". */
  readonly profile?: Profile | undefined;
  /** Taken when a call names none; default debian:12. */
  readonly environment?: string | undefined;
  /** No call takes longer, in milliseconds; default 45 s. */
  readonly blockMs?: number | undefined;
}

type Transport = Parameters<McpServer["connect"]>[0];

/** The MCP server of pyro: one set of tools for both protocol eras. The machines belong to the daemon, not to it. */
export interface PyroMcpServer extends AsyncDisposable {
  /** Serves on standard input and output until the input ends or the signal fires; calls in flight are ended. */
  serveStdio(options?: {
    readonly signal?: AbortSignal | undefined;
    readonly stdin?: Readable | undefined;
    readonly stdout?: Writable | undefined;
  }): Promise<void>;
  /** Serves on another transport until that closes or the signal fires. */
  serve(transport: Transport, options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
}

const INSTRUCTIONS =
  "pyro runs commands in disposable virtual machines, never on the user's host. vm_run starts a fresh VM, runs one " +
  "command as root in it and throws the VM away: use it for code that is untrusted, that needs packages, or that must not " +
  "touch the user's files. Nothing of the host is visible inside, and there is no network. A call answers within " +
  `${LIMITS.mcpBlockMs / 1000} s: a longer command goes on, and the answer names the call that waits for it or reads the ` +
  `rest of its output. Environments: ${ENVIRONMENTS_LINE}.`;

const DESCRIPTIONS: Readonly<Record<string, string>> = {
  vm_run:
    "Use this when a command should run isolated from the user's machine: in a fresh Linux VM that is thrown away " +
    "afterwards. Give `command` (a shell line) or `argv`, in one of these environments: " +
    `${ENVIRONMENTS_LINE}. The first line of the answer is \`exit N\`, \`killed SIGNAL\`, \`timed out after N s\` or ` +
    "`still running`; the second text block is what the command wrote. With `run_id` it waits for a run that still goes " +
    "on, or reads more of its output, until 10 minutes after its end.",
};

/**
 * The MCP server as an object. Nothing is started or asked before the first call of a tool.
 * @throws {PyroError} INVALID_ARGUMENT for a profile that this version does not have
 */
export function createServer(options: ServerOptions = {}): PyroMcpServer {
  const { profile = "vm-run", environment = DEFAULT_ENVIRONMENT, blockMs = LIMITS.mcpBlockMs } = options;
  if (!PROFILES.includes(profile)) {
    throw new PyroError("INVALID_ARGUMENT", `there is no profile ${JSON.stringify(profile)}`, {
      hint: `the profiles of this version: ${PROFILES.join(", ")}`,
    });
  }
  let calls: Promise<Calls> | undefined;
  // Loaded with the first call: listing the tools must be quick.
  const loadCalls = (): Promise<Calls> =>
    (calls ??= import("./calls.js").then(({ Calls }) => new Calls({ pyro: options, environment, blockMs })));
  const register = (server: McpServer, tool: Declaration): void => {
    server.registerTool(
      tool.name,
      {
        title: tool.summary,
        description: DESCRIPTIONS[tool.name] ?? tool.summary,
        inputSchema: listed(toolInput(tool, environment)),
        annotations: hintsOf(tool.kind),
        // Claude Code defers tools otherwise, which costs the model a turn.
        _meta: { "anthropic/alwaysLoad": true },
      },
      async (args: unknown, context: ServerContext) =>
        await (await loadCalls()).run(tool.name, args, context),
    );
  };
  const build = async (): Promise<McpServer> => {
    const { McpServer } = await import("@modelcontextprotocol/server");
    const { version } = thisBuild();
    const server = new McpServer(
      { name: "pyro", title: "pyro", version },
      { instructions: INSTRUCTIONS, capabilities: { tools: { listChanged: false } } },
    );
    for (const tool of await toolsOf(profile)) register(server, tool);
    return server;
  };
  const serve: PyroMcpServer["serve"] = async (transport, { signal } = {}) => {
    // Loaded here, so that programs that never serve do not pay for it.
    const { serveStdio } = await import("@modelcontextprotocol/server/stdio");
    const handle = serveStdio(build, { transport });
    const closed = new Promise<void>((resolve) => {
      const inner = transport.onclose;
      transport.onclose = () => {
        inner?.();
        resolve();
      };
    });
    const close = (): void => void handle.close();
    signal?.addEventListener("abort", close, { once: true });
    if (signal?.aborted === true) close();
    await closed;
    signal?.removeEventListener("abort", close);
    await (await calls)?.settle();
  };
  return {
    serve,
    serveStdio: async ({ stdin, stdout, signal } = {}) => {
      const { StdioServerTransport } = await import("@modelcontextprotocol/server/stdio");
      await serve(new StdioServerTransport(stdin, stdout), { signal });
    },
    [Symbol.asyncDispose]: async () => await (await calls)?.[Symbol.asyncDispose](),
  };
}

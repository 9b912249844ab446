import type { McpServer, ServerContext } from "@modelcontextprotocol/server";
import type { Readable, Writable } from "node:stream";
import { thisBuild } from "../kit/index.js";
import {
  DEFAULT_ENVIRONMENT,
  MODES,
  PROFILES,
  toolsOf,
  type Declaration,
  type Mode,
  type Profile,
  type ToolSet,
} from "../operations/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { PyroOptions } from "../sdk/index.js";
import type { Calls } from "./calls.js";
import { descriptionOf, fieldsOf, instructionsOf, metaOf } from "./descriptions.js";
import { hostRoots } from "./host-roots.js";
import { OUTPUT_SCHEMAS } from "./output-schemas.js";
import { projectSource, type ProjectOptions } from "./project-source.js";
import { hintsOf, listed, toolInput } from "./tool.js";

export interface ServerOptions extends PyroOptions, ProjectOptions {
  /** The set of tools; default "workspace-core". */
  readonly profile?: Profile | undefined;
  /** The set of tools by what it is for; excludes `profile`. */
  readonly mode?: Mode | undefined;
  /** Directories that tools may read seeds from and export to; default the project, else the working directory. */
  readonly hostRoots?: readonly string[] | undefined;
  /** Taken when a call names none; default debian:12. */
  readonly environment?: string | undefined;
  /** No call takes longer, in milliseconds; default 45 s. */
  readonly blockMs?: number | undefined;
}

type Transport = Parameters<McpServer["connect"]>[0];

/** The MCP server of pyro: one set of tools for both protocol eras. The machines belong to the daemon, not to it. */
export interface PyroMcpServer extends AsyncDisposable {
  /** Where workspaces begin when a call names nothing, and its state: one line for people. */
  readonly projectLine: string;
  /** Serves on standard input and output until the input ends or the signal fires; calls in flight are ended. */
  serveStdio(options?: {
    readonly signal?: AbortSignal | undefined;
    readonly stdin?: Readable | undefined;
    readonly stdout?: Writable | undefined;
  }): Promise<void>;
  /** Serves on another transport until that closes or the signal fires. */
  serve(transport: Transport, options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
}

/**
 * The MCP server as an object. Nothing is started or asked before the first call of a tool.
 * @throws {PyroError} INVALID_ARGUMENT for a profile or mode that this version does not have, and for options that
 * exclude each other; PROJECT_NOT_FOUND
 */
export function createServer(options: ServerOptions = {}): PyroMcpServer {
  const { environment = DEFAULT_ENVIRONMENT, blockMs = LIMITS.mcpBlockMs } = options;
  const set = toolSetOf(options);
  const project = projectSource(options, process.cwd());
  const roots = hostRoots(options.hostRoots ?? [], project, process.cwd());
  const facts = { set, source: project.says, environment };
  let isLeft = false;
  let calls: Promise<Calls> | undefined;
  // Loaded with the first call: listing the tools must be quick.
  const loadCalls = (): Promise<Calls> =>
    (calls ??= (async () => {
      const { Calls } = await import("./calls.js");
      const tools = await toolsOf(set);
      const { source: defaultSource } = project;
      const given = { pyro: options, tools, environment, blockMs, roots, defaultSource };
      return new Calls({ ...given, isLeft: () => isLeft });
    })());
  const register = (server: McpServer, tool: Declaration): void => {
    const { name, summary, kind } = tool;
    const outputSchema = OUTPUT_SCHEMAS[name];
    server.registerTool(
      name,
      {
        title: summary,
        description: descriptionOf(name, facts) ?? summary,
        inputSchema: listed(toolInput(tool, environment), fieldsOf(name)),
        ...(outputSchema === undefined ? {} : { outputSchema }),
        annotations: hintsOf(kind),
        _meta: metaOf(name, summary),
      },
      async (args: unknown, context: ServerContext) => await (await loadCalls()).run(name, args, context),
    );
  };
  const build = async (): Promise<McpServer> => {
    const { McpServer } = await import("@modelcontextprotocol/server");
    const { version } = thisBuild();
    const server = new McpServer(
      { name: "pyro", title: "pyro", version },
      { instructions: instructionsOf(facts), capabilities: { tools: { listChanged: false } } },
    );
    for (const tool of await toolsOf(set)) register(server, tool);
    return server;
  };
  const serve: PyroMcpServer["serve"] = async (transport, { signal } = {}) => {
    // Loaded here, so that programs that never serve do not pay for it.
    const { serveStdio } = await import("@modelcontextprotocol/server/stdio");
    const handle = serveStdio(build, { transport });
    const closed = new Promise<void>((resolve) => {
      const inner = transport.onclose;
      transport.onclose = () => {
        isLeft = true;
        inner?.();
        resolve();
      };
    });
    const close = (): void => {
      isLeft = true;
      void handle.close();
    };
    signal?.addEventListener("abort", close, { once: true });
    if (signal?.aborted === true) close();
    await closed;
    signal?.removeEventListener("abort", close);
    await (await calls)?.settle();
  };
  return {
    projectLine: project.line,
    serve,
    serveStdio: async ({ stdin, stdout, signal } = {}) => {
      const { StdioServerTransport } = await import("@modelcontextprotocol/server/stdio");
      await serve(new StdioServerTransport(stdin, stdout), { signal });
    },
    [Symbol.asyncDispose]: async () => await (await calls)?.[Symbol.asyncDispose](),
  };
}

function toolSetOf({ profile, mode }: ServerOptions): ToolSet {
  if (profile !== undefined && mode !== undefined) {
    throw new PyroError("INVALID_ARGUMENT", `profile ${profile} and mode ${mode} exclude each other`, {
      hint: "leave one of them out: a mode is a set of tools too",
    });
  }
  const known: readonly string[] = mode === undefined ? PROFILES : MODES;
  const set = mode ?? profile ?? "workspace-core";
  if (known.includes(set)) return set;
  const what = mode === undefined ? "profile" : "mode";
  throw new PyroError("INVALID_ARGUMENT", `there is no ${what} ${JSON.stringify(set)}`, {
    hint: `the ${what}s of this version: ${known.join(", ")}`,
  });
}

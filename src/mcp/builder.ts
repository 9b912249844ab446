import type {
  CallToolResult,
  InputRequiredResult,
  McpRequestContext,
  McpServer,
  McpServerOptions,
  ServerContext,
  StandardSchemaWithJSON,
} from "@modelcontextprotocol/server";
import { thisBuild } from "../kit/index.js";
import {
  DEFAULT_ENVIRONMENT,
  MODES,
  PROFILES,
  toolsOf,
  type Kind,
  type Mode,
  type Profile,
  type ToolSet,
} from "../operations/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { NetworkOptions, PyroOptions } from "../sdk/index.js";
import type { Caller } from "./caller.js";
import type { Calls } from "./calls.js";
import { descriptionOf, fieldsOf, instructionsOf, metaOf } from "./descriptions.js";
import { hostRoots } from "./host-roots.js";
import { OUTPUT_SCHEMAS } from "./output-schemas.js";
import { projectSource, type ProjectOptions } from "./project-source.js";
import { hintsOf, listed, toolInput, type ToolCall, type ToolSetting } from "./tool.js";

export interface ServerOptions extends PyroOptions, ProjectOptions {
  /** The set of tools; default "workspace-core". */
  readonly profile?: Profile | undefined;
  /** The set of tools by what it is for; excludes `profile`. */
  readonly mode?: Mode | undefined;
  /** Directories that tools may read seeds from and export to; default the project, else the working directory. */
  readonly hostRoots?: readonly string[] | undefined;
  /** Taken when a call names none; default debian:12. */
  readonly environment?: string | undefined;
  /** What every machine that this server makes may reach; default: nothing. No call can change it. */
  readonly network?: NetworkOptions | undefined;
  /** No call takes longer, in milliseconds; default 45 s. */
  readonly blockMs?: number | undefined;
}

/** A tool as the server lists it. */
export interface ListedTool {
  readonly name: string;
  readonly summary: string;
  readonly description: string;
  readonly kind: Kind;
  readonly inputSchema: StandardSchemaWithJSON;
  readonly outputSchema?: StandardSchemaWithJSON | undefined;
}

type Result = CallToolResult | InputRequiredResult;

/** A tool besides the operations. It is listed, called, timed and answered for as they are: a failure is an answer. */
export interface AddedTool extends ListedTool {
  readonly run: (args: unknown, call: ToolCall, context: ServerContext) => Promise<Result>;
}

/** What a server offers besides the operations: the conformance suite asks for more kinds of things than pyro has. */
export interface Additions {
  readonly server?: Pick<McpServerOptions, "capabilities" | "requestState">;
  readonly tools?: readonly AddedTool[];
  /** Adds resources and prompts. */
  readonly extend?: (server: McpServer, request: McpRequestContext | undefined) => void;
}

/** Makes the servers of one process, whatever transport they are served on. */
export interface ServerBuilder extends AsyncDisposable {
  readonly projectLine: string;
  /** What a model should know before its first call. */
  readonly instructions: string;
  readonly setting: ToolSetting;
  /** The tools of its profile, in their order. */
  operations(): Promise<readonly ListedTool[]>;
  /** Answers one call of one of them, without MCP; a failure is an answer too. */
  call(name: string, args: unknown, caller: Caller): Promise<CallToolResult>;
  /** A server for one connection, or for one request; all share their calls. */
  readonly build: (request?: McpRequestContext) => Promise<McpServer>;
  /** The client went away: what it started stays for the next one. */
  leave(): void;
  /** Waits, not for long, until the calls that were aborted ended what they started. */
  settle(): Promise<void>;
}

/**
 * Nothing is started or asked before the first call of a tool.
 * @throws {PyroError} INVALID_ARGUMENT for a profile or mode that this version does not have, and for options that
 * exclude each other; PROJECT_NOT_FOUND
 */
export function serverBuilder(options: ServerOptions, additions: Additions = {}): ServerBuilder {
  const { environment = DEFAULT_ENVIRONMENT, blockMs = LIMITS.mcpBlockMs } = options;
  const set = toolSetOf(options);
  const project = projectSource(options, process.cwd());
  const roots = hostRoots(options.hostRoots ?? [], project, process.cwd());
  const { network } = options;
  const mayPublish = network?.policy === "egress+published-ports";
  const setting = { set, environment, hasNetwork: reaches(network), mayPublish };
  const facts = { ...setting, source: project.says };
  let isLeft = false;
  let calls: Promise<Calls> | undefined;
  // Loaded with the first call: listing the tools must be quick.
  const loadCalls = (): Promise<Calls> =>
    (calls ??= (async () => {
      const { Calls } = await import("./calls.js");
      const tools = await toolsOf(set);
      const { source: defaultSource } = project;
      const given = { pyro: options, tools, ...setting, blockMs, roots, defaultSource, network };
      return new Calls({ ...given, isLeft: () => isLeft });
    })());
  const call: ServerBuilder["call"] = async (name, args, caller) =>
    await (await loadCalls()).run(name, args, caller);
  const operations = async (): Promise<readonly ListedTool[]> =>
    (await toolsOf(set)).map((tool) => ({
      ...{ name: tool.name, summary: tool.summary, kind: tool.kind },
      description: descriptionOf(tool.name, facts) ?? tool.summary,
      inputSchema: listed(toolInput(tool, setting), fieldsOf(tool.name)),
      outputSchema: OUTPUT_SCHEMAS[tool.name],
    }));
  return {
    projectLine: project.line,
    instructions: instructionsOf(facts),
    setting,
    operations,
    call,
    build: async (request) => {
      const { McpServer } = await import("@modelcontextprotocol/server");
      const { callerOf } = await import("./caller.js");
      const server = new McpServer(
        { name: "pyro", title: "pyro", version: thisBuild().version },
        {
          instructions: instructionsOf(facts),
          capabilities: { tools: { listChanged: false } },
          ...additions.server,
        },
      );
      for (const tool of await operations())
        register(server, tool, setting, async (args, context) => {
          using caller = callerOf(context);
          return await call(tool.name, args, caller);
        });
      for (const tool of additions.tools ?? [])
        register(server, tool, setting, async (args, context) => {
          using caller = callerOf(context);
          return await (await loadCalls()).answer((call) => tool.run(args, call, context), args, caller);
        });
      additions.extend?.(server, request);
      return server;
    },
    leave: () => {
      isLeft = true;
    },
    settle: async () => await (await calls)?.settle(),
    [Symbol.asyncDispose]: async () => await (await calls)?.[Symbol.asyncDispose](),
  };
}

function register(
  server: McpServer,
  { name, summary, description, kind, inputSchema, outputSchema }: ListedTool,
  setting: ToolSetting,
  answer: (args: unknown, context: ServerContext) => Promise<Result>,
): void {
  server.registerTool(
    name,
    {
      title: summary,
      description,
      inputSchema,
      ...(outputSchema === undefined ? {} : { outputSchema }),
      annotations: hintsOf({ name, kind }, setting),
      _meta: metaOf(name, summary),
    },
    answer,
  );
}

/** Whether a machine reaches anything at all by that; rules alone mean egress. */
function reaches(network: NetworkOptions | undefined): boolean {
  return network !== undefined && network.policy !== "off";
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

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import type {
  JsonObject,
  ModelApi,
  ModelRequest,
  OfferedTool,
  Reply,
  ShownResult,
  StreamEvent,
} from "./model-api.js";

/** The model's side of one conversation, step by step; it ends with what the model says last. */
export type Script = (model: Conversation) => Promise<string>;

export interface Conversation {
  /** What the host showed before the first call. */
  readonly opening: ModelRequest;
  /** Calls a tool by its name in the MCP server, or a tool of the host's own, and gives what the model is shown of it. */
  call(tool: string, args?: Readonly<Record<string, unknown>>): Promise<ShownResult>;
  /** Calls a tool that the host does not offer. */
  callUnknown(tool: string): Promise<ShownResult>;
}

export interface ModelOptions {
  readonly api: ModelApi;
  /** In the prompt of the conversation: hosts ask the model for titles and the like besides. */
  readonly prompt: string;
  readonly script: Script;
}

/** A model on 127.0.0.1 that does what a script says. */
export interface ScriptedModel extends AsyncDisposable {
  readonly url: string;
  /**
   * The script's end, to be asked once the host has ended; rejects with what failed in the script, or when the host
   * ended before it.
   * @param said what the host wrote
   */
  readonly finished: (said: string) => Promise<void>;
}

/** Starts a model that plays the script in the first conversation that has the prompt. */
export async function scriptedModel(options: ModelOptions): Promise<ScriptedModel> {
  const play = new Play(options);
  const server = createServer((request, response) => {
    answer(play, options, request, response).catch((error: unknown) => {
      play.fail(error);
      response.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    finished: (said) => play.finished(said),
    [Symbol.asyncDispose]: () => closed(server),
  };
}

/**
 * One conversation, its requests and replies matched by how many results a request holds: a host that asks again, as
 * hosts do when a connection breaks, gets the same reply.
 */
class Play implements Conversation {
  readonly #script: Script;
  readonly #shown: Deferred<ModelRequest>[] = [];
  readonly #replies: Deferred<Reply>[] = [];
  #step = 0;
  #done: Promise<void> | undefined;
  #latest: ModelRequest | undefined;
  #opening: ModelRequest | undefined;

  constructor({ script }: ModelOptions) {
    this.#script = script;
  }

  get opening(): ModelRequest {
    return known(this.#opening);
  }

  async call(tool: string, args: Readonly<Record<string, unknown>> = {}): Promise<ShownResult> {
    return await this.#call(toolNamed(tool, known(this.#latest)), args);
  }

  async callUnknown(tool: string): Promise<ShownResult> {
    return await this.#call({ name: tool, description: "", schema: {} }, {});
  }

  async #call(named: OfferedTool, args: Readonly<Record<string, unknown>>): Promise<ShownResult> {
    const step = this.#step++;
    at(this.#replies, step).resolve({ tool: named, args });
    const { results } = await at(this.#shown, step + 1).promise;
    return known(results[step]);
  }

  /** The reply to a request of the host. */
  async reply(request: ModelRequest): Promise<Reply> {
    this.#latest = request;
    if (this.#done === undefined) {
      this.#opening = request;
      this.#done = this.#run();
      // Looked at when the host has ended.
      this.#done.catch(() => undefined);
    }
    const step = request.results.length;
    at(this.#shown, step).resolve(request);
    return await at(this.#replies, step).promise;
  }

  async finished(said: string): Promise<void> {
    this.fail(new Error(`the host ended after ${this.#step} calls; it said:\n${said}`));
    if (this.#done === undefined) throw new Error(`the host asked the model nothing; it said:\n${said}`);
    await this.#done;
  }

  /** Ends a script that waits for the host. */
  fail(error: unknown): void {
    at(this.#shown, this.#step).reject(error);
  }

  async #run(): Promise<void> {
    try {
      const say = await this.#script(this);
      at(this.#replies, this.#step).resolve({ say });
    } catch (error) {
      // So that the host ends.
      at(this.#replies, this.#step).resolve({ say: "the script failed" });
      throw error;
    }
  }
}

async function answer(
  play: Play,
  { api, prompt }: ModelOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = JSON.parse((await text(request)) || "{}") as JsonObject;
  const path = new URL(request.url ?? "/", "http://model").pathname;
  if (request.method !== "POST" || path !== api.path) {
    response.writeHead(404, { "content-type": "application/json" }).end("{}");
    return;
  }
  const shown = api.read(body);
  const isConversation = shown.tools.length > 0 && shown.instructions.includes(prompt);
  const reply = isConversation ? await play.reply(shown) : { say: "a title" };
  const model = typeof body["model"] === "string" ? body["model"] : "";
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (const event of api.reply(reply, `${shown.results.length}`, model)) response.write(frame(event));
  response.end();
}

function frame({ name, data }: StreamEvent): string {
  const line = `data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;
  return name === undefined ? line : `event: ${name}\n${line}`;
}

/** Hosts put the server's name before the tool's, each in its way. */
function toolNamed(name: string, { tools }: ModelRequest): OfferedTool {
  const found = tools.find((tool) => tool.name === name || tool.name.endsWith(`_${name}`));
  if (found !== undefined) return found;
  const names = tools.map((tool) => tool.name).join(", ");
  throw new Error(`the host does not offer ${name}; it offers ${names}`);
}

interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

function at<T>(list: Deferred<T>[], index: number): Deferred<T> {
  return (list[index] ??= deferred<T>());
}

function deferred<T>(): Deferred<T> {
  const handles: Partial<Deferred<T>> = {};
  const promise = new Promise<T>((resolve, reject) => Object.assign(handles, { resolve, reject }));
  // A rejection that nobody waits for is no failure.
  promise.catch(() => undefined);
  return { promise, ...handles } as Deferred<T>;
}

function known<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("nothing was shown yet");
  return value;
}

async function closed(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

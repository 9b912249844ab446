/** What one API of model vendors looks like to the scripted model: a request to read, and a reply to write. */

/** A tool as the host offers it to the model. */
export interface OfferedTool {
  readonly name: string;
  /** Of the OpenAI Responses API: tools of one MCP server stand in a namespace. */
  readonly namespace?: string | undefined;
  readonly description: string;
  readonly schema: unknown;
}

/** A tool's result as the host shows it to the model. */
export interface ShownResult {
  readonly isError: boolean;
  /** One by one where the host keeps blocks apart. */
  readonly blocks: readonly string[];
}

/** What the model is shown in one request: the whole conversation up to here. */
export interface ModelRequest {
  readonly tools: readonly OfferedTool[];
  /** All texts that are neither the model's nor a tool's: system text, reminders, the user's prompt. */
  readonly instructions: string;
  /** In the order of the calls. */
  readonly results: readonly ShownResult[];
}

/** What the model does next. */
export type Reply =
  { readonly say: string } | { readonly tool: OfferedTool; readonly args: Readonly<Record<string, unknown>> };

/** One event of a stream of server-sent events; without a name where the API has none. */
export interface StreamEvent {
  readonly name?: string;
  readonly data: unknown;
}

export interface ModelApi {
  /** Ends the path of the requests that are answered with `reply`. */
  readonly path: string;
  read(body: JsonObject): ModelRequest;
  /** @param id unique in the conversation */
  reply(reply: Reply, id: string, model: string): readonly StreamEvent[];
}

export type JsonObject = Readonly<Record<string, unknown>>;

/** An event that is named by its data's type. */
export function typedEvent(data: { readonly type: string } & JsonObject): StreamEvent {
  return { name: data.type, data };
}

/** A list of objects where JSON has one, else none. */
export function objects(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? value.filter((item): item is JsonObject => typeof item === "object") : [];
}

/** The text blocks of a message's content, in any of the APIs; what is no text stands as its JSON. */
export function textBlocks(content: unknown): readonly string[] {
  if (content === undefined || content === null) return [];
  if (typeof content === "string") return [content];
  return objects(content).map((block) =>
    typeof block["text"] === "string" ? block["text"] : JSON.stringify(block),
  );
}

/** A field that holds text. */
export function textOf(object: JsonObject, name: string): string {
  const value = object[name];
  return typeof value === "string" ? value : "";
}

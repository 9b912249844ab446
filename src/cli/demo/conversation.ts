import { isJsonObject, type JsonObject } from "../../kit/index.js";
import type { PyroTools, ToolAnswer } from "../../mcp/index.js";
import { PyroError } from "../../protocol/index.js";
import type { AskedCall, ModelReply } from "./answers.js";
import { shown, withoutTools, type ChatEndpoint, type ChatMessage } from "./endpoint.js";

/** Rounds of calls before a model has to have answered. */
const ROUNDS_MAX = 12;
/** What a model may ask for at once; it is told that the rest was not done. */
const CALLS_PER_ROUND_MAX = 8;
/** Of the arguments that a model wrote, in the record. */
const ARGUMENTS_CHARS_MAX = 2_000;

const SYSTEM =
  "You have tools, and you call them to find out what you are asked. Never guess what a command prints, and never write " +
  "a call as text. ";

export interface ConversationOptions {
  readonly endpoint: ChatEndpoint;
  readonly model: string;
  readonly prompt: string;
  readonly tools: PyroTools;
  readonly signal: AbortSignal;
  /** What happens, line by line. */
  readonly onEvent: (event: ConversationEvent) => void;
}

export type ConversationEvent =
  | { readonly kind: "waiting"; readonly round: number }
  | { readonly kind: "said"; readonly text: string }
  | { readonly kind: "calls"; readonly call: AskedCall }
  | { readonly kind: "progress"; readonly message: string }
  | { readonly kind: "answered"; readonly answer: ToolAnswer };

/** A call that was made. */
export interface MadeCall {
  readonly asked: AskedCall;
  readonly answer: ToolAnswer;
  readonly durationMs: number;
}

export interface Conversed {
  readonly answer: string;
  readonly rounds: number;
  readonly calls: readonly MadeCall[];
  readonly modelMs: number;
}

/**
 * Asks the model, calls what it calls, until it answers.
 * @throws {PyroError} MODEL_WITHOUT_TOOLS where it calls none; MODEL_TASK_FAILED where none of its calls ran a command,
 * it answers nothing, or goes on calling; those of the endpoint
 */
export async function converse(options: ConversationOptions): Promise<Conversed> {
  const { endpoint, model, prompt, tools, signal, onEvent } = options;
  const offered = tools.tools.map(({ name, description, inputSchema: { $schema: _, ...parameters } }) => ({
    type: "function",
    function: { name, description, parameters },
  }));
  const messages: ChatMessage[] = [
    { role: "system", content: SYSTEM + tools.instructions },
    { role: "user", content: prompt },
  ];
  const calls: MadeCall[] = [];
  let modelMs = 0;
  for (let round = 1; round <= ROUNDS_MAX; round++) {
    onEvent({ kind: "waiting", round });
    const asked = performance.now();
    const reply = await endpoint.reply(model, messages, offered);
    modelMs += performance.now() - asked;
    if (reply.text !== "") onEvent({ kind: "said", text: reply.text });
    if (reply.calls.length === 0) return { ...judged(model, reply, calls), rounds: round, calls, modelMs };
    messages.push(echoed(reply));
    for (const [index, call] of reply.calls.entries()) {
      const made = await make(call, index, { tools, signal, onEvent });
      calls.push(made);
      messages.push({ role: "tool", tool_call_id: call.id, content: made.answer.text });
    }
  }
  throw failed(model, `still calls tools after ${ROUNDS_MAX} rounds`, calls);
}

async function make(
  asked: AskedCall,
  index: number,
  { tools, signal, onEvent }: Pick<ConversationOptions, "tools" | "signal" | "onEvent">,
): Promise<MadeCall> {
  onEvent({ kind: "calls", call: asked });
  const started = performance.now();
  const answer =
    index < CALLS_PER_ROUND_MAX
      ? await tools.call(asked.name, asked.arguments, {
          signal,
          onProgress: (message) => onEvent({ kind: "progress", message }),
        })
      : refused(`not called: ${CALLS_PER_ROUND_MAX} calls at once are the most`);
  signal.throwIfAborted();
  onEvent({ kind: "answered", answer });
  return {
    asked: { ...asked, arguments: asked.arguments.slice(0, ARGUMENTS_CHARS_MAX) },
    answer,
    durationMs: performance.now() - started,
  };
}

function refused(text: string): ToolAnswer {
  return { isError: true, text, parts: [text], fields: {} };
}

/** The model's message as the API wants it back. Servers read the arguments again: what is no JSON must not come twice. */
function echoed({ text, calls }: ModelReply): ChatMessage {
  return {
    role: "assistant",
    content: text,
    tool_calls: calls.map(({ id, name, arguments: args }) => ({
      ...{ id, type: "function" },
      function: { name, arguments: isObjectText(args) ? args : "{}" },
    })),
  };
}

function isObjectText(text: string): boolean {
  try {
    return isJsonObject(JSON.parse(text));
  } catch {
    return false;
  }
}

/** Whether a command came to its end by this call. */
export function ranCommand({ answer: { isError, fields } }: MadeCall): boolean {
  return !isError && "exit_code" in fields;
}

function judged(
  model: string,
  { text }: ModelReply,
  calls: readonly MadeCall[],
): { readonly answer: string } {
  if (calls.length === 0) throw withoutTools(model, `it wrote: ${shown(text)}`);
  if (!calls.some(ranCommand)) throw failed(model, `ran no command, and says: ${shown(text)}`, calls);
  if (text === "") throw failed(model, "ran a command and then answered nothing", calls);
  return { answer: text };
}

function failed(model: string, what: string, calls: readonly MadeCall[]): PyroError {
  const last = calls.at(-1)?.answer;
  const told = last?.isError === true ? `; its last call was answered: ${shown(last.text)}` : "";
  const details: JsonObject = { model, calls: calls.length };
  return new PyroError("MODEL_TASK_FAILED", `${model} ${what}${told}`, {
    hint: "watch it with `-v`, or take another model: `--model NAME`",
    details,
  });
}

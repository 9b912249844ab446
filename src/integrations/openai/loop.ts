import type { OpenAI } from "openai";
import { PyroError } from "../../protocol/index.js";
import { throwIfAborted } from "../shared/command.js";
import { modelError } from "../shared/model-error.js";
import type { ResponsesTools } from "./tools.js";

type InputItem = OpenAI.Responses.ResponseInputItem;

export interface RunResponsesOptions {
  readonly client: Pick<OpenAI, "responses" | "baseURL">;
  /** In this order asked who answers a call. */
  readonly tools: readonly ResponsesTools[];
  /** All else of a request: model, input, instructions, further tools, … */
  readonly request: Omit<OpenAI.Responses.ResponseCreateParamsStreaming, "stream">;
  /** Requests to the model at most; default 50. */
  readonly maxRounds?: number | undefined;
  /** Ends the request, or the tool that runs just now with what it started. */
  readonly signal?: AbortSignal | undefined;
  /** Hears each event of each response as it comes: the text, piece by piece, among them. */
  readonly onEvent?: ((event: OpenAI.Responses.ResponseStreamEvent) => void) | undefined;
}

export interface RunResponsesResult {
  /** The last one: without calls, or "incomplete" and why. */
  readonly response: OpenAI.Responses.Response;
  readonly text: string;
  /** The whole conversation, for a next request. */
  readonly input: readonly InputItem[];
  readonly rounds: number;
}

/**
 * Asks the model, does what it calls and tells it, until it calls nothing more.
 * @throws {PyroError} MODEL_UNAUTHORIZED: the key; MODEL_ENDPOINT_FAILED: the model, the request, or the endpoint itself;
 *   MODEL_UNREACHABLE: nobody there; MODEL_ANSWER_INVALID: what came is no response; MODEL_ROUNDS_EXCEEDED; CANCELLED
 */
export async function runResponses(options: RunResponsesOptions): Promise<RunResponsesResult> {
  const { client, tools, request, maxRounds = 50, signal } = options;
  const definitions = [...tools.flatMap((tool) => tool.definitions), ...(request.tools ?? [])];
  const input: InputItem[] =
    typeof request.input === "string"
      ? [{ role: "user", content: request.input }]
      : [...(request.input ?? [])];
  for (let rounds = 1; rounds <= maxRounds; rounds++) {
    const response = await ask(client, { ...request, tools: definitions, input }, options);
    input.push(...(response.output as InputItem[]));
    const answers = [];
    if (response.status !== "incomplete")
      for (const item of response.output) answers.push(...(await answersTo(item, tools, signal)));
    if (answers.length === 0) return { response, text: textOf(response), input, rounds };
    input.push(...answers);
  }
  throw new PyroError("MODEL_ROUNDS_EXCEEDED", `the model still calls tools after ${maxRounds} requests`, {
    hint: "give more maxRounds, or a smaller task",
    details: { rounds: maxRounds },
  });
}

async function ask(
  client: RunResponsesOptions["client"],
  request: RunResponsesOptions["request"],
  { signal, onEvent }: RunResponsesOptions,
): Promise<OpenAI.Responses.Response> {
  throwIfAborted(signal);
  try {
    const events = await client.responses.create({ ...request, stream: true }, { signal: signal ?? null });
    for await (const event of events) {
      onEvent?.(event);
      if (event.type === "response.completed" || event.type === "response.incomplete")
        return checked(event.response);
      if (event.type === "response.failed")
        throw failed(event.response.error?.message ?? "the response failed");
      if (event.type === "error") throw failed(event.message);
    }
    throwIfAborted(signal);
    throw failed("the stream ended without a response");
  } catch (error) {
    throw modelError(error, {
      url: client.baseURL,
      key: "OPENAI_API_KEY, or apiKey of `new OpenAI`",
      signal,
    });
  }
}

function checked(response: OpenAI.Responses.Response | undefined): OpenAI.Responses.Response {
  if (response !== undefined && Array.isArray(response.output)) return response;
  throw failed("the response has no output");
}

function failed(message: string): PyroError {
  return new PyroError("MODEL_ENDPOINT_FAILED", `the model's endpoint failed: ${message}`, {
    hint: "try again; see that the base URL is one of the Responses API",
    retryable: true,
  });
}

/** The answer to a call that is ours to answer, also where nobody knows the tool. */
async function answersTo(
  item: OpenAI.Responses.ResponseOutputItem,
  tools: readonly ResponsesTools[],
  signal: AbortSignal | undefined,
): Promise<InputItem[]> {
  for (const { answer } of tools) {
    const answered = await answer(item, { signal });
    if (answered !== undefined) return [answered];
  }
  const none = answerOfNobody(item);
  return none === undefined ? [] : [none];
}

/** Undefined for words, reasoning, and what the API does itself. */
function answerOfNobody(item: OpenAI.Responses.ResponseOutputItem): InputItem | undefined {
  if (item.type === "function_call")
    return { type: "function_call_output", call_id: item.call_id, output: unknown(item.name) };
  if (item.type === "custom_tool_call")
    return { type: "custom_tool_call_output", call_id: item.call_id, output: unknown(item.name) };
  if (item.type === "local_shell_call")
    return { type: "local_shell_call_output", id: item.call_id, output: unknown("local_shell") };
  if (item.type === "shell_call") {
    const outcome = { type: "exit", exit_code: 127 } as const;
    return {
      ...{ type: "shell_call_output", call_id: item.call_id },
      output: [{ stdout: "", stderr: unknown("shell"), outcome }],
    };
  }
  if (item.type !== "apply_patch_call") return undefined;
  const output = unknown("apply_patch");
  return { type: "apply_patch_call_output", call_id: item.call_id, status: "failed", output };
}

function unknown(name: string): string {
  return `there is no tool ${JSON.stringify(name)} here: call one of those of the request`;
}

function textOf({ output }: OpenAI.Responses.Response): string {
  return output
    .flatMap((item) => (item.type === "message" ? item.content : []))
    .map((part) => (part.type === "output_text" ? part.text : part.refusal))
    .join("");
}

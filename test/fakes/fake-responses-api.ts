import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

/** An item of a response's output, or of a request's input. */
export type Item = Readonly<Record<string, unknown>> & { readonly type?: string };

/** What a request had: whole, and the answers that came since the last one. */
export interface AskedModel {
  readonly body: Readonly<Record<string, unknown>>;
  readonly answers: readonly Item[];
}

/** What the model does next, or what its endpoint sends instead of a response. */
export type Turn = (asked: AskedModel) => readonly Item[] | { readonly raw: string };

/** OpenAI's Responses API on 127.0.0.1, whose model does one thing for each request; the last one again and again. */
export interface FakeResponsesApi extends AsyncDisposable {
  /** As a client's `baseURL`. */
  readonly url: string;
  readonly key: string;
  readonly asked: readonly AskedModel[];
}

let lastId = 0;
const freshId = (kind: string): string => `${kind}_${++lastId}`;

export const say = (words: string): Item => ({
  ...{ type: "message", id: freshId("msg"), role: "assistant", status: "completed" },
  content: [{ type: "output_text", text: words, annotations: [] }],
});

/** A call of a function, with arguments as they are or as the model wrote them. */
export const call = (name: string, args: unknown): Item => ({
  ...{ type: "function_call", id: freshId("fc"), call_id: freshId("call"), name, status: "completed" },
  arguments: typeof args === "string" ? args : JSON.stringify(args),
});

export const shell = (...commands: readonly string[]): Item => ({
  ...{ type: "shell_call", id: freshId("sh"), call_id: freshId("call"), status: "completed" },
  ...{ action: { commands, timeout_ms: null, max_output_length: null }, environment: { type: "local" } },
});

export const patch = (operation: Readonly<Record<string, string>>): Item => ({
  ...{
    type: "apply_patch_call",
    id: freshId("ap"),
    call_id: freshId("call"),
    status: "completed",
    operation,
  },
});

/** Serves the turns. A key other than its own is refused as OpenAI refuses it. */
export async function fakeResponsesApi(turns: readonly Turn[]): Promise<FakeResponsesApi> {
  const key = "sk-of-the-fake";
  const asked: AskedModel[] = [];
  const server = createServer((request, response) => {
    void text(request).then((sent) => {
      const json = { "content-type": "application/json" };
      if (request.headers.authorization !== `Bearer ${key}`) {
        const error = {
          message: "Incorrect API key provided.",
          type: "invalid_request_error",
          code: "invalid_api_key",
        };
        return response.writeHead(401, json).end(JSON.stringify({ error }));
      }
      const body = JSON.parse(sent) as AskedModel["body"];
      const turn = turns[Math.min(asked.length, turns.length - 1)];
      asked.push({ body, answers: answersOf(body["input"]) });
      const output = turn?.(asked[asked.length - 1] as AskedModel) ?? [];
      const isStream = body["stream"] === true;
      if ("raw" in output)
        return response.writeHead(200, { "content-type": "text/event-stream" }).end(output.raw);
      const usage = { input_tokens: 1, output_tokens: 1, total_tokens: 2 };
      const details = {
        input_tokens_details: { cached_tokens: 0 },
        output_tokens_details: { reasoning_tokens: 0 },
      };
      const given = {
        id: freshId("resp"),
        object: "response",
        created_at: 0,
        model: body["model"],
        tools: [],
      };
      const whole = { ...given, status: "completed", output, usage: { ...usage, ...details }, error: null };
      if (!isStream) return response.writeHead(200, json).end(JSON.stringify(whole));
      response.writeHead(200, { "content-type": "text/event-stream" });
      const events = [
        { type: "response.created", response: { ...whole, status: "in_progress", output: [] } },
        ...output.map((item, index) => ({ type: "response.output_item.done", output_index: index, item })),
        { type: "response.completed", response: whole },
      ];
      for (const [index, event] of events.entries())
        response.write(
          `event: ${event.type}\ndata: ${JSON.stringify({ ...event, sequence_number: index })}\n\n`,
        );
      return response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    key,
    asked,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The outputs of tools behind the last thing that the model did. */
function answersOf(input: unknown): Item[] {
  const items = Array.isArray(input) ? (input as Item[]) : [];
  const last = items.findLastIndex(({ type }) => type?.endsWith("_output") !== true);
  return items.slice(last + 1);
}

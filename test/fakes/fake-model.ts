import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";

/** One request for a completion, as it came. */
export interface CompletionRequest {
  readonly model: string;
  readonly messages: readonly {
    readonly role: string;
    readonly content: string;
    readonly tool_calls?: readonly { readonly function: { readonly arguments: string } }[];
    readonly tool_call_id?: string;
  }[];
  readonly tools: readonly { readonly function: { readonly name: string; readonly parameters: object } }[];
}

/** What the endpoint does with a request: a message of the model, or anything at all. */
export type ModelStep = object | ((response: ServerResponse, asked: CompletionRequest | undefined) => void);

export interface FakeModel extends AsyncDisposable {
  /** With /v1. */
  readonly url: string;
  readonly requests: readonly CompletionRequest[];
  /** The Authorization headers of all requests. */
  readonly keys: readonly (string | undefined)[];
}

/**
 * An OpenAI-compatible endpoint on 127.0.0.1 that answers completions by the steps, the last one over and over.
 * `models` is what it lists, or what it does instead.
 */
export async function fakeModel(
  steps: readonly ModelStep[],
  models: readonly string[] | ModelStep = ["small:latest"],
): Promise<FakeModel> {
  const requests: CompletionRequest[] = [];
  const keys: (string | undefined)[] = [];
  const list = Array.isArray(models)
    ? { object: "list", data: models.map((id: string) => ({ id })) }
    : models;
  const server = createServer((request, response) => {
    keys.push(request.headers.authorization);
    const act = async (): Promise<void> => {
      if (request.url === "/v1/models") {
        send(list, response, undefined);
        return;
      }
      if (request.url !== "/v1/chat/completions")
        return void response.writeHead(404).end("404 page not found");
      const asked = (await json(request)) as CompletionRequest;
      requests.push(asked);
      const step = steps[Math.min(requests.length, steps.length) - 1] ?? {};
      send(typeof step === "function" ? step : { choices: [{ message: step }] }, response, asked);
    };
    act().catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    ...{ requests, keys },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function send(step: ModelStep, response: ServerResponse, asked: CompletionRequest | undefined): void {
  if (typeof step === "function") step(response, asked);
  else response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(step));
}

/** Says what it was told last, as a model that reads its tools' answers does. */
export const repeating: ModelStep = (response, asked) => {
  const content = `I was told: ${asked?.messages.at(-1)?.content ?? "nothing"}`;
  send({ choices: [{ message: saying(content) }] }, response, undefined);
};

/** A message that calls a tool; what is no text goes as its JSON. */
export function calling(name: string, args: unknown, id = "call_1"): object {
  const text = typeof args === "string" ? args : JSON.stringify(args);
  return {
    role: "assistant",
    content: null,
    tool_calls: [{ id, type: "function", function: { name, arguments: text } }],
  };
}

/** A message that only says something. */
export function saying(content: string): object {
  return { role: "assistant", content };
}

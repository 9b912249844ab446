import { isJsonObject, type JsonObject } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import { modelsIn, replyIn, type ModelReply } from "./answers.js";

/** One message of a conversation, as the API has it. */
export type ChatMessage = JsonObject & { readonly role: "system" | "user" | "assistant" | "tool" };

export interface EndpointOptions {
  readonly baseUrl: string;
  readonly apiKey: string | undefined;
  /** How long one answer may take, in milliseconds. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** An answer of some tens of kB is long; what streams without end is no answer. */
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;
const MODELS_MS = 15_000;
const SHOWN_CHARS = 200;

/**
 * An OpenAI-compatible endpoint: chat completions without streaming. Redirects are not followed: the key goes to the
 * place that the user named and nowhere else. What goes wrong is a PyroError MODEL_…, or DEADLINE_EXCEEDED.
 */
export class ChatEndpoint {
  readonly url: string;
  readonly #options: EndpointOptions;

  /** @throws {PyroError} INVALID_ARGUMENT */
  constructor(options: EndpointOptions) {
    this.url = endpointUrl(options.baseUrl);
    this.#options = options;
  }

  /**
   * The model to talk to: `wanted`, where the endpoint has it or does not say, else the first that it lists.
   * @throws {PyroError} MODEL_NOT_FOUND with the names that there are
   */
  async model(wanted: string | undefined): Promise<string> {
    const answer = await this.#ask("/models", undefined, Math.min(MODELS_MS, this.#options.timeoutMs));
    if (answer.status === 404 && wanted !== undefined) return wanted;
    if (answer.status === 404) {
      const meant = /\/v\d+$/.test(this.url)
        ? ""
        : `most endpoints end in /v1: \`--base-url ${this.url}/v1\`; `;
      throw new PyroError("MODEL_NOT_FOUND", `${this.url} does not list its models (HTTP 404)`, {
        hint: `${meant}or name a model: \`--model NAME\``,
      });
    }
    const models = modelsIn(this.#json(answer));
    if (models === undefined) throw this.#garbage(answer, "is no list of models");
    // One that makes embeddings holds no conversation.
    const found =
      wanted === undefined
        ? (models.find((id) => !/embed/i.test(id)) ?? models[0])
        : models.find((id) => id === wanted || id === `${wanted}:latest`);
    if (found !== undefined) return found;
    const there = models.slice(0, 20).map((id) => shown(id, 80));
    if (wanted === undefined) {
      throw new PyroError("MODEL_NOT_FOUND", `${this.url} has no model`, {
        hint: "get one that can call tools, for Ollama `ollama pull qwen3:4b`, and try again",
      });
    }
    throw new PyroError("MODEL_NOT_FOUND", `${this.url} has no model ${JSON.stringify(wanted)}`, {
      hint:
        there[0] === undefined
          ? `it lists none; for Ollama: \`ollama pull ${wanted}\``
          : `take one that it has, such as \`--model ${there[0]}\`: ${there.join(", ")}`,
      details: { models: there },
    });
  }

  /** The model's next message. */
  async reply(
    model: string,
    messages: readonly ChatMessage[],
    tools: readonly JsonObject[],
  ): Promise<ModelReply> {
    const body = { model, messages, tools, stream: false };
    const answer = await this.#ask("/chat/completions", body, this.#options.timeoutMs);
    if (
      answer.status >= 400 &&
      /tool|function/i.test(answer.text) &&
      /not support|unsupported/i.test(answer.text)
    )
      throw withoutTools(model, `its endpoint says: ${said(answer.text)}`);
    if (answer.status === 404) {
      throw new PyroError(
        "MODEL_NOT_FOUND",
        `${this.url} refuses ${model} (HTTP 404): ${said(answer.text)}`,
        {
          hint: "name another model: `--model NAME`, or another address: `--base-url URL`",
        },
      );
    }
    const reply = replyIn(this.#json(answer));
    if (typeof reply === "string") throw this.#garbage(answer, reply);
    return reply;
  }

  /** One request, whole; a status that is no success is an answer, but for 401, 403, redirects. */
  async #ask(path: string, body: JsonObject | undefined, timeoutMs: number): Promise<Answer> {
    const { signal: user, apiKey } = this.#options;
    const deadline = AbortSignal.timeout(timeoutMs);
    try {
      const response = await fetch(this.url + path, {
        method: body === undefined ? "GET" : "POST",
        headers: {
          ...{ accept: "application/json" },
          ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...{ redirect: "manual", signal: AbortSignal.any([user, deadline]) },
      });
      const { status, text } = { status: response.status, text: await this.#bounded(response) };
      this.#refuseStatus(status, response.headers.get("location"), text);
      return { status, text };
    } catch (error) {
      user.throwIfAborted();
      if (error instanceof PyroError) throw error;
      if (deadline.aborted || /^UND_ERR_(HEADERS|BODY)_TIMEOUT$/.test(reasonOf(error)))
        throw this.#late(timeoutMs, error);
      throw new PyroError("MODEL_UNREACHABLE", `${this.url} cannot be reached: ${reasonOf(error)}`, {
        hint: "start the model's server (for Ollama `ollama serve`), or name another address: `--base-url URL`",
        retryable: true,
        cause: error,
      });
    }
  }

  async #bounded({ body }: Response): Promise<string> {
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for await (const part of (body ?? []) as AsyncIterable<Uint8Array>) {
      bytes += part.length;
      if (bytes > ANSWER_BYTES_MAX)
        throw this.#garbage({ text: Buffer.concat(parts.slice(0, 1)).toString() }, "does not end");
      parts.push(part);
    }
    return Buffer.concat(parts).toString("utf8");
  }

  #refuseStatus(status: number, location: string | null, text: string): void {
    if (status === 401 || status === 403) {
      const wrong = this.#options.apiKey === undefined ? "wants a key" : "does not take this key";
      throw new PyroError("MODEL_UNAUTHORIZED", `${this.url} ${wrong} (HTTP ${status}): ${said(text)}`, {
        hint: "put the key into a variable and name that: `--api-key-env NAME`",
      });
    }
    if (status >= 300 && status < 400) {
      throw new PyroError("MODEL_ENDPOINT_FAILED", `${this.url} leads elsewhere (HTTP ${status})`, {
        hint: `name the place itself: \`--base-url\`${location === null ? "" : `; it names ${shown(location)}`}`,
      });
    }
  }

  /** The JSON of a success. */
  #json(answer: Answer): unknown {
    const { status, text } = answer;
    if (status >= 400) {
      throw new PyroError("MODEL_ENDPOINT_FAILED", `${this.url} answers HTTP ${status}: ${said(text)}`, {
        hint:
          status === 429 || status >= 500
            ? "look at the log of the model's server, or try again"
            : "look at what it says; another model: `--model NAME`",
        retryable: status === 429 || status >= 500,
      });
    }
    try {
      return JSON.parse(text) as unknown;
    } catch {
      throw this.#garbage(answer, /^\s*</.test(text) ? "is a web page" : "is no JSON");
    }
  }

  #garbage({ text }: { readonly text: string }, what: string): PyroError {
    return new PyroError("MODEL_ANSWER_INVALID", `the answer of ${this.url} ${what}: ${shown(text)}`, {
      hint: "is that an OpenAI-compatible endpoint? Its address usually ends in /v1: `--base-url URL`",
    });
  }

  #late(timeoutMs: number, cause: unknown): PyroError {
    return new PyroError(
      "DEADLINE_EXCEEDED",
      `${this.url} gave no whole answer within ${timeoutMs / 1000} s`,
      {
        hint: "give it more time with `--timeout-seconds N`, or take a smaller model: `--model NAME`",
        retryable: true,
        cause,
      },
    );
  }
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** A model that cannot, or does not, call tools. */
export function withoutTools(model: string, why: string): PyroError {
  return new PyroError("MODEL_WITHOUT_TOOLS", `${model} answered without calling a tool; ${why}`, {
    hint: "take a model that can call tools, such as `--model qwen3:4b` (for Ollama `ollama pull qwen3:4b` first)",
    details: { model },
  });
}

/** What stood in an answer, as one bounded line. */
export function shown(text: string, chars = SHOWN_CHARS): string {
  const line = text.replace(/\s+/g, " ").trim();
  if (line === "") return "(nothing)";
  return line.length > chars ? `${line.slice(0, chars)}…` : line;
}

/** The message of an API's error, else what stood there. */
function said(text: string): string {
  try {
    const value: unknown = JSON.parse(text);
    const error = isJsonObject(value) ? value["error"] : undefined;
    const message = isJsonObject(error) ? error["message"] : error;
    return shown(typeof message === "string" ? message : text);
  } catch {
    return shown(text);
  }
}

function endpointUrl(given: string): string {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.search !== "" || url.hash !== "") {
    throw new PyroError("INVALID_ARGUMENT", "--base-url takes an address of HTTP without a query", {
      hint: "for example `--base-url http://localhost:11434/v1`",
    });
  }
  if (url.username !== "" || url.password !== "") {
    throw new PyroError("INVALID_ARGUMENT", "--base-url takes no name and no password", {
      hint: "a key goes into a variable: `--api-key-env NAME`",
    });
  }
  return url.href.replace(/\/+$/, "");
}

/** fetch says "fetch failed"; why stands below. */
function reasonOf(error: unknown): string {
  const cause = (error as Error).cause;
  const { code, message } = (cause ?? error) as NodeJS.ErrnoException;
  return code ?? message;
}

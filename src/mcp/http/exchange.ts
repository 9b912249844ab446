import { refusal } from "./refusal.js";

/** One request, and what is known of the connection that it came on. */
export interface Exchange {
  /** Without its body. */
  readonly request: Request;
  /** Reads the body: only for whoever may send one. Undefined when it is larger than the server takes. */
  readonly body: () => Promise<Buffer | undefined>;
  /** Fires when the answer is over: it was given, or nobody waits for it any more. */
  readonly closed: AbortSignal;
}

export type Answer = (exchange: Exchange) => Promise<Response>;

/** The message of a request, or the answer to one that has none. Undefined where the method has no body. */
export async function messageOf({ request, body }: Exchange): Promise<{ message: unknown } | Response> {
  if (request.method !== "POST") return { message: undefined };
  const bytes = await body();
  if (bytes === undefined) return refusal(413, "the message is larger than this server takes");
  try {
    return { message: JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as unknown };
  } catch {
    return refusal(400, "Parse error: the body is not JSON in UTF-8", { code: -32_700 });
  }
}

import { unreachable } from "./call.js";

/**
 * Reads a stream of answers to its end, and gives its result. To the end, though the result came: a stream that is left before is
 * reset, and a server ends the connection of a client that resets many (nghttp2: 1,000 at once, then 33 a second). Only what
 * its caller leaves is reset, by the call's scope.
 * @param take hears each answer up to the result, and gives that
 * @throws {PyroError} DAEMON_UNREACHABLE where there is none; what the stream fails with before it
 */
export async function resultOf<Response, Result>(
  what: string,
  responses: AsyncIterable<Response>,
  take: (response: Response) => Result | undefined,
): Promise<Result> {
  let result: Result | undefined;
  try {
    for await (const response of responses) result ??= take(response);
  } catch (error) {
    if (result === undefined) throw error;
  }
  if (result === undefined) throw unreachable(new Error(`the daemon ended ${what} without a result`));
  return result;
}

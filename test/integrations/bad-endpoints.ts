import { randomBytes } from "node:crypto";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What goes wrong with a model's endpoint, and what a program must say then. */
export const BAD_ENDPOINTS = {
  "refuses the key": {
    says: /invalid api key/i,
    answer: (response: ServerResponse) => {
      response.writeHead(401, { "content-type": "application/json" });
      const error = { type: "authentication_error", code: "invalid_api_key", message: "invalid api key" };
      response.end(JSON.stringify({ type: "error", error }));
    },
  },
  "streams garbage": {
    says: /JSON|parse|malformed/i,
    answer: (response: ServerResponse) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write('event: message_start\ndata: {"type":\n\n');
      response.end(Buffer.concat([Buffer.from("data: "), randomBytes(4096), Buffer.from("\n\n")]));
    },
  },
} as const;

/** An endpoint on 127.0.0.1 that answers every request so. */
export async function badEndpoint(
  answer: (response: ServerResponse) => void,
): Promise<AsyncDisposable & { readonly url: string }> {
  const server = createServer((request, response) => {
    request.resume().once("end", () => answer(response));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

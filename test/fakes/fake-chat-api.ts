import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";

type Message = Readonly<Record<string, unknown>>;

/** A chat completions API on 127.0.0.1 whose model answers each request with the next message; `asked` are the requests. */
export async function fakeChatApi(
  messages: readonly Message[],
): Promise<{ readonly url: string; readonly asked: readonly { messages: Message[] }[] } & AsyncDisposable> {
  const asked: { messages: Message[] }[] = [];
  const server = createServer((request, response) => {
    void json(request).then((body) => {
      const message = messages[asked.length];
      asked.push(body as { messages: Message[] });
      response.writeHead(message === undefined ? 500 : 200, { "content-type": "application/json" });
      response.end(JSON.stringify({ choices: [{ index: 0, message: { role: "assistant", ...message } }] }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    asked,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

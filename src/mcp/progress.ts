import type { ServerContext } from "@modelcontextprotocol/server";

/** Tells a caller that asked for it what goes on: at each change, and at least this often. */
const EVERY_MS = 5_000;

/** Progress of one call: seconds since its start, and the last thing that was said. */
export interface CallProgress extends Disposable {
  say(message: string): void;
}

/** Silent for callers that gave no token. */
export function callProgress(context: ServerContext): CallProgress {
  const token = context.mcpReq._meta?.progressToken;
  if (token === undefined) return { say: () => undefined, [Symbol.dispose]: () => undefined };
  const started = performance.now();
  let last = "starting";
  let told = -1;
  const tell = (): void => {
    // The protocol wants a value that grows with every notification.
    told = Math.max(told + 0.001, (performance.now() - started) / 1000);
    const params = { progressToken: token, progress: Number(told.toFixed(3)), message: last };
    context.mcpReq.notify({ method: "notifications/progress", params }).catch(() => undefined);
  };
  const timer = setInterval(tell, EVERY_MS);
  tell();
  return {
    say: (message) => {
      if (message === last) return;
      last = message;
      tell();
    },
    [Symbol.dispose]: () => clearInterval(timer),
  };
}

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { sessionOf, type CallingSession } from "./mcp-session.js";
import { PYRO } from "./support.js";

/** `pyro mcp serve --http`, as a user starts it, in a directory. */
export interface HttpServer extends AsyncDisposable {
  readonly url: string;
  readonly token: string;
  readonly child: ChildProcess;
  /** A client of it, of the newest protocol that both know unless it is told otherwise. */
  readonly client: (era?: "2025-11-25") => Promise<CallingSession>;
}

export interface HttpServerOptions {
  readonly stateDir: string;
  readonly cwd: string;
  readonly flags?: readonly string[];
  /** 0: a free one. */
  readonly port?: number;
}

export async function httpServer({
  stateDir,
  cwd,
  flags = [],
  port = 0,
}: HttpServerOptions): Promise<HttpServer> {
  const serve = [PYRO, "--state-dir", stateDir, "mcp", "serve", "--http", String(port), ...flags];
  const env = { ...process.env, PYRO_POOL: "0" };
  const child = spawn(process.execPath, serve, { cwd, env, stdio: ["ignore", "inherit", "pipe"] });
  const ended = once(child, "close");
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  while (!said.includes("such as: ")) {
    const over = await Promise.race([once(child.stderr, "data"), ended.then(() => "over")]);
    if (over === "over") throw new Error(`the server ended: ${said}`);
  }
  const url = /served at (\S+)/.exec(said)?.[1] ?? "";
  const token = (await readFile(/token is in (\S+)/.exec(said)?.[1] ?? "", "utf8")).trim();
  return {
    ...{ url, token, child },
    client: async (era) => {
      const mode = era === undefined ? ("auto" as const) : ("legacy" as const);
      const client = new Client({ name: "test", version: "1" }, { versionNegotiation: { mode } });
      const requestInit = { headers: { authorization: `Bearer ${token}` } };
      await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
      return sessionOf(client);
    },
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

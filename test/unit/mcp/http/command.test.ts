import { once } from "node:events";
import { readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { builtId, startBuilt } from "../../../fakes/built-command.js";
import { startFakeDaemon } from "../../../fakes/fake-daemon.js";
import { ERAS } from "../../../fakes/mcp-client.js";
import { slowRun } from "../../../fakes/slow-run.js";
import { temporaryState } from "../../../fakes/state-directory.js";
import { asked, TOKEN } from "./served.js";

const serve = (state: string, ...flags: string[]): ReturnType<typeof startBuilt> =>
  startBuilt(["--state-dir", state, "mcp", "serve", "--profile", "vm-run", ...flags]);

/** What a server says as it starts. */
async function beginning(served: ReturnType<typeof startBuilt>): Promise<string> {
  let said = "";
  while (!said.includes("such as: ")) said += String((await once(served.stderr ?? served, "data"))[0]);
  return said;
}

describe("pyro mcp serve --http 0", () => {
  let state: Awaited<ReturnType<typeof temporaryState>>;
  let served: ReturnType<typeof startBuilt>;
  let said: string;
  let url: URL;
  let token: string;
  beforeEach(async () => {
    state = await temporaryState();
    served = serve(state.path, "--http", "0");
    said = await beginning(served);
    url = new URL(/http:\S+/.exec(said)?.[0] ?? "");
    token = (await readFile(/token is in (\S+)/.exec(said)?.[1] ?? "", "utf8")).trim();
  });
  afterEach(async () => {
    served.kill("SIGTERM");
    const { stdout } = await served.ended;
    expect(stdout.toString()).toBe("");
    await expect(fetch(url)).rejects.toThrow();
    await state[Symbol.asyncDispose]();
  });

  const client = async (era: (typeof ERAS)[number]): Promise<Client> => {
    const mode = era === "2026-07-28" ? { pin: era } : ("legacy" as const);
    const made = new Client({ name: "test", version: "1" }, { versionNegotiation: { mode } });
    const requestInit = { headers: { authorization: `Bearer ${token}` } };
    await made.connect(new StreamableHTTPClientTransport(url, { requestInit }));
    return made;
  };

  it("says where it is, where the token stands, and what to type; the token itself is in no log", async () => {
    const path = join(state.path, "mcp-http-token");
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(said).not.toContain(token);
    expect(said.split("\n")).toEqual([
      `pyro: MCP is served at http://127.0.0.1:${url.port}/mcp`,
      `pyro: clients send "Authorization: Bearer TOKEN"; the token is in ${path}`,
      `pyro: such as: claude mcp add --transport http pyro ${url.href} --header "Authorization: Bearer $(cat ${path})"`,
      "",
    ]);
  });

  it.each(ERAS)("serves a client that has the token, era %s", async (era) => {
    await using _daemon = await startFakeDaemon(state.path, { buildId: await builtId() });
    const connected = await client(era);
    expect((await connected.listTools()).tools.map(({ name }) => name)).toEqual(["vm_run"]);
    const { content } = await connected.callTool({ name: "vm_run", arguments: { argv: ["echo", "hi"] } });
    expect(content[1]).toEqual({ type: "text", text: "hi\n" });
    await connected.close();
  });

  it("answers nobody else, and no page of a browser", async () => {
    const status = async (headers: Record<string, string>) =>
      (await asked(url, { headers: { authorization: `Bearer ${token}`, ...headers } })).status;
    expect(await status({})).toBe(200);
    expect(await status({ authorization: "" })).toBe(401);
    expect(await status({ host: "attacker.example" })).toBe(403);
    expect(await status({ origin: "https://attacker.example" })).toBe(403);
    expect(await status({ "mcp-session-id": "of-nobody" })).toBe(404);
  });

  it("takes a message as large as one on standard input, and no larger one", async () => {
    const headers = { authorization: `Bearer ${token}` };
    const sized = async (bytes: number) => await asked(url, { headers, body: `"${"x".repeat(bytes - 2)}"` });
    expect(await sized(10 * 1024 * 1024)).toMatchObject({ status: 400 });
    expect(await sized(10 * 1024 * 1024 + 1)).toMatchObject({ status: 413 });
  });

  it.each(["SIGTERM", "SIGINT"] as const)(
    "ends on %s in the middle of calls, and what it waits for",
    async (signal) => {
      const { script, cancelled } = slowRun(1_000_000);
      await using daemon = await startFakeDaemon(state.path, { ...script, buildId: await builtId() });
      const connected = await client("2025-11-25");
      const call = { name: "vm_run", arguments: { command: "sleep 100" } };
      const waiting = connected.callTool(call).catch(() => "failed");
      await expect.poll(() => daemon.calls).toContain("ReadRun");
      served.kill(signal);
      await served.ended;
      expect(cancelled).toEqual(["run-0123456789abcdef"]);
      await connected.close().catch(() => undefined);
      expect(await waiting).toBe("failed");
    },
  );

  it("is served again on its port at once, with the same token, after it was killed", async () => {
    const connected = await client("2025-11-25");
    served.kill("SIGKILL");
    await served.ended;
    served = serve(state.path, "--http", url.port);
    await beginning(served);
    await connected.close().catch(() => undefined);
    const again = await client("2025-11-25");
    expect((await again.listTools()).tools).toHaveLength(1);
    await again.close();
  });
});

describe("a server that other machines reach", () => {
  it("takes a token that the user made, and says what HTTP does not hide", async () => {
    await using state = await temporaryState();
    const file = join(state.path, "own token");
    await writeFile(file, TOKEN, { mode: 0o600 });
    const served = serve(
      state.path,
      "--http",
      "0.0.0.0:0",
      "--http-token-file",
      file,
      "--http-allow-host",
      "box.example",
    );
    const said = await beginning(served);
    expect(said).toMatch(/^pyro: warning: other machines reach this server, and HTTP encrypts nothing/);
    expect(said).toContain(`"Authorization: Bearer $(cat '${file}')"`);
    expect(said).not.toContain(TOKEN);
    const url = new URL(`http://127.0.0.1:${/:(\d+)\/mcp/.exec(said)?.[1] ?? ""}/mcp`);
    const headers = { authorization: `Bearer ${TOKEN}`, host: "box.example" };
    expect((await asked(url, { headers })).status).toBe(200);
    expect((await asked(url, { headers: { ...headers, host: "other.example" } })).status).toBe(403);
    served.kill("SIGTERM");
    expect(await served.ended).toMatchObject({ code: 0 });
  });

  it.each(["0.0.0.0:0", "[::]:0", "192.0.2.7:0", "box.example:0"])(
    "does not start without one, at %s",
    async (at) => {
      await using state = await temporaryState();
      const { code, stdout, stderr } = await serve(state.path, "--http", at).ended;
      expect({ code, stdout: stdout.toString() }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toMatch(
        /INVALID_ARGUMENT: .* is reached from other machines[^]*hint: .*--http-token-file/,
      );
    },
  );
});

describe("what cannot be served", () => {
  it.each([
    [
      ["--http", "0", "--http-token-file", "/nowhere"],
      1,
      /token's file \/nowhere is not there\nhint: make it anew/,
    ],
    [["--http", "x"], 1, /"x" is no port\nhint: .*--http 8765/],
    [["--http", "http://127.0.0.1:80"], 1, /is neither an address nor a host's name/],
    [["--http-token-file", "/nowhere"], 2, /--http-token-file goes with --http/],
    [["--http-allow-host", "x.example"], 2, /--http-allow-host goes with --http/],
    [["--http", "0", "--http-allow-host", "x.example:80"], 2, /takes a host's name, without a port/],
    [["--http", "192.0.2.7:0", "--http-token-file", "TOKEN"], 1, /cannot listen on 192\.0\.2\.7/],
  ])("%j", async (flags, status, says) => {
    await using state = await temporaryState();
    const token = join(state.path, "token");
    await writeFile(token, TOKEN, { mode: 0o600 });
    const given = flags.map((flag) => (flag === "TOKEN" ? token : flag));
    const { code, stderr } = await serve(state.path, ...given).ended;
    expect(stderr).toMatch(says);
    expect(code).toBe(status);
  });

  it("says which port is taken, and what to type", async () => {
    await using state = await temporaryState();
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as { port: number };
    const { code, stderr } = await serve(state.path, "--http", String(port)).ended;
    taken.close();
    expect(code).toBe(1);
    expect(stderr).toBe(
      `PORT_TAKEN: port ${port} of 127.0.0.1 is in use on this machine\n` +
        "hint: name another port, or 0 for a free one: `pyro mcp serve --http 0`\n",
    );
  });
});

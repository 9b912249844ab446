import { chmod, stat, writeFile } from "node:fs/promises";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { FILES, HOSTS, useChatHome } from "../../fakes/cli-chat-home.js";
import { served, TOKEN, type Served } from "../mcp/http/served.js";

const on = useChatHome();
let server: Served;
beforeAll(async () => {
  server = await served();
});
afterAll(() => server[Symbol.asyncDispose]());

let tokenFile: string;
let given: readonly string[];
beforeEach(async () => {
  tokenFile = await on.home.write("token", `${TOKEN}\n`, 0o600);
  given = ["--url", server.url.href, "--token-file", tokenFile];
});

/** A server on 127.0.0.1 that is not pyro. */
async function other(listener: RequestListener): Promise<{ url: string } & AsyncDisposable> {
  const listening = createServer(listener);
  await new Promise<void>((resolve) => listening.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(listening.address() as AddressInfo).port}/mcp`,
    [Symbol.asyncDispose]: async () => {
      listening.closeAllConnections();
      await new Promise((resolve) => listening.close(resolve));
    },
  };
}

describe.each(HOSTS)("%s and a server over HTTP", (name) => {
  test("connect leads it there once, and doctor comes to the server", async () => {
    const { status, stdout, stderr } = await on.host("connect", name, ...given);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toContain(`entry  ${server.url.href}\n`);
    expect(stdout).not.toContain(TOKEN);
    const written = await on.home.read(FILES[name]);
    // OpenCode reads the file by itself.
    expect(written.includes(TOKEN)).toBe(name !== "opencode");
    if (name !== "claude-code") expect((await stat(on.home.at(FILES[name]))).mode & 0o077).toBe(0);
    expect(await on.json("connect", name, ...given)).toMatchObject({
      ...{ changed: false, command: [], url: server.url.href },
    });
    const report = await on.report(name);
    expect(report).toMatchObject({
      ...{ state: "connected", command: null, url: server.url.href, hint: "", problems: [] },
      server: { name: "pyro", tools: 1 },
    });
    expect(JSON.stringify(report)).not.toContain(TOKEN);
    expect((await on.json("repair", name))["changed"]).toBe(false);
    expect(await on.home.read(FILES[name])).toBe(written);
  });

  test("a token that changed is seen, and repair brings the new one", async () => {
    const old = await on.home.write("old", "an-old-token-that-is-not-good-any-more\n", 0o600);
    await on.host("connect", name, "--url", server.url.href, "--token-file", old);
    expect(await on.report(name)).toMatchObject({
      state: "failing",
      problems: [expect.stringContaining("HTTP 401") as string],
      hint: expect.stringContaining(`pyro host repair ${name} --url ${server.url.href}`) as string,
    });
    expect((await on.host("repair", name)).stderr).toMatch(/^HOST_COMMAND_FAILED: .*HTTP 401.*left as it is/);
    const second = await on.host("connect", name, ...given);
    expect(second.stderr).toMatch(/^HOST_ENTRY_DIFFERS: .* has another token\nhint: `pyro host repair/);
    expect(await on.json("repair", name, ...given)).toMatchObject({
      changed: true,
      mended: ["it has another token"],
    });
    expect(await on.report(name)).toMatchObject({ state: "connected" });
  });

  test("an address where nothing listens is failing, and repair leads elsewhere", async () => {
    const gone = await other(() => undefined);
    await gone[Symbol.asyncDispose]();
    await on.host("connect", name, "--url", gone.url, "--token-file", tokenFile);
    expect(await on.report(name)).toMatchObject({
      state: "failing",
      problems: [`the server at ${gone.url}: nothing listens there`],
      hint: expect.stringContaining("pyro mcp serve --http") as string,
    });
    expect(await on.json("repair", name, ...given)).toMatchObject({ changed: true, url: server.url.href });
    expect(await on.report(name)).toMatchObject({ state: "connected" });
  });

  test("an entry that starts a program is not led elsewhere, and the other way round", async () => {
    await on.host("connect", name);
    const program = await on.home.read(FILES[name]);
    for (const verb of ["connect", "repair"])
      expect((await on.host(verb, name, ...given)).stderr).toMatch(/^HOST_ENTRY_DIFFERS: .* starts `/);
    expect(await on.home.read(FILES[name])).toBe(program);
  });

  test("print-config shows how, without the token", async () => {
    const { status, stdout } = await on.host("print-config", name, "--url", "http://127.0.0.1:8765/mcp");
    expect(status).toBe(0);
    const state = process.env["XDG_STATE_HOME"] ?? on.home.at(".local/state");
    expect(
      on.shown(stdout).replaceAll(state, "~/.local/state").replaceAll("/var/lib", "~/.local/state"),
    ).toMatchSnapshot();
  });
});

test("of an entry that finds its token in a variable, the variable is taken", async () => {
  const url = server.url.href;
  await on.home.write(
    FILES.codex,
    `[mcp_servers.pyro]\nurl = "${url}"\nbearer_token_env_var = "PYRO_TOKEN"\n`,
    0o600,
  );
  expect(await on.report("codex")).toMatchObject({ state: "failing" });
  expect((await on.host("repair", "codex", ...given)).stderr).toMatch(
    /HOST_CONFIG_NOT_WRITABLE: .*PYRO_TOKEN/,
  );
  vi.stubEnv("PYRO_TOKEN", TOKEN);
  expect(await on.report("codex")).toMatchObject({ state: "connected" });
  const headers = { Authorization: "Bearer ${PYRO_TOKEN}" };
  await on.home.write(
    FILES["claude-code"],
    JSON.stringify({ mcpServers: { pyro: { type: "http", url, headers } } }),
  );
  expect(await on.report("claude-code")).toMatchObject({ state: "connected" });
});

test("no token goes into a file that others can read", async () => {
  const path = await on.home.write(FILES.codex, 'model = "x"\n', 0o644);
  const { stderr } = await on.host("connect", "codex", ...given);
  expect(stderr).toMatch(/^HOST_CONFIG_NOT_WRITABLE: .*can be read by others.*\nhint: run `chmod 600/);
  expect(await on.home.read(FILES.codex)).toBe('model = "x"\n');
  await chmod(path, 0o600);
  expect((await on.host("connect", "codex", ...given)).status).toBe(0);
  expect(await on.home.read(FILES.codex)).toMatch(/^model = "x"\n\n\[mcp_servers\.pyro\]\nurl = /);
});

test.each<[string, RequestListener, string, RegExp]>([
  ["answers garbage", (_, response) => void response.end("\u0000garbage"), "failing", /what is no MCP/],
  ["answers a web page", (_, response) => void response.end("<html>hi"), "failing", /what is no MCP/],
  [
    "leads elsewhere",
    (_, response) => void response.writeHead(302, { location: "http://x.test/" }).end(),
    "failing",
    /HTTP 302/,
  ],
  ["breaks off", (request) => void request.socket.destroy(), "failing", /cannot be reached/],
  [
    "is another",
    (_, response) =>
      void response.end(
        [1, 2]
          .map((id) =>
            JSON.stringify({
              jsonrpc: "2.0",
              id,
              result: { serverInfo: { name: "x", version: "1" }, tools: [] },
            }),
          )
          .join("\n"),
      ),
    "drifted",
    /another server: x/,
  ],
])("a server that %s is named", async (_, listener, state, says) => {
  await using there = await other(listener);
  await on.host("connect", "codex", "--url", there.url, "--token-file", tokenFile);
  const report = await on.report("codex");
  expect(report["state"]).toBe(state);
  expect((report["problems"] as string[]).join()).toMatch(says);
});

test("an address in a project's own file is not tried, nor what it names read", async () => {
  const asked: string[] = [];
  await using there = await other((request, response) => {
    asked.push(request.headers.authorization ?? "");
    response.end("{}");
  });
  vi.spyOn(process, "cwd").mockReturnValue(on.home.at("checkout"));
  await on.home.write("checkout/.git/HEAD", "ref: refs/heads/main\n");
  const headers = { Authorization: `Bearer {file:${tokenFile}}` };
  await on.home.write(
    "checkout/opencode.json",
    JSON.stringify({ mcp: { pyro: { type: "remote", url: there.url, headers } } }),
  );
  expect(await on.report("opencode")).toMatchObject({
    state: "drifted",
    problems: [expect.stringContaining("was not tried") as string],
  });
  expect((await on.host("repair", "opencode", ...given)).stderr).toMatch(/^HOST_ENTRY_DIFFERS/);
  expect(asked).toEqual([]);
});

test.each([
  [["--url", "ftp://x/mcp"], /takes an address of HTTP/],
  [["--url", "http://127.0.0.1:8765"], /with \/mcp/],
  [["--url", "http://me:secret@x/mcp"], /takes no name/],
  [["--url", "http://x/mcp", "--mode", "inspect"], /--mode.*option of the server/],
  [["--url", "http://x/mcp", "--npx"], /--npx.*option of the server/],
  [["--token-file", "x"], /--token-file.*needs --url/],
  [["--url", "http://x/mcp", "--token-file", "missing"], /missing is not there/],
])("connect codex %j is refused", async (words, says) => {
  const { status, stderr } = await on.host("connect", "codex", ...words);
  expect(status).toBeGreaterThan(0);
  expect(stderr).toMatch(says);
  expect(stderr).not.toContain("secret");
});

test("without a server of one's own there is no token to take", async () => {
  vi.stubEnv("XDG_STATE_HOME", on.home.at("none"));
  const { stderr } = await on.host(
    "connect",
    "codex",
    "--url",
    "http://127.0.0.1:8765/mcp",
    "--state-dir",
    on.home.at("s"),
  );
  expect(stderr).toMatch(
    /there is no token of a server of yours yet.*\nhint: start it first: `pyro mcp serve --http 8765`/,
  );
  await writeFile(tokenFile, "short\n");
  expect((await on.host("connect", "codex", ...given)).stderr).toMatch(/has no token/);
});

describe("hosts that are windows", () => {
  test("get a program by its whole path", async () => {
    const path = await on.serving();
    for (const name of ["claude-desktop", "cursor"]) {
      const { command, config, config_path: file } = await on.json("print-config", name, "--mode", "inspect");
      const entry = { command: (command as string[])[0], args: ["mcp", "serve", "--mode", "inspect"] };
      expect(JSON.parse(config as string)).toEqual({ mcpServers: { pyro: entry } });
      expect(entry.command).toMatch(/^\//);
      expect(on.shown(file as string)).toBe(
        name === "cursor" ? "~/.cursor/mcp.json" : "~/.config/Claude/claude_desktop_config.json",
      );
    }
    expect(path).toMatch(/^\//);
  });

  test("on Windows start what is in WSL", async () => {
    vi.stubEnv("WSL_DISTRO_NAME", "Debian");
    const { config, config_path: path } = await on.json("print-config", "claude-desktop");
    expect(path).toBeNull();
    expect(JSON.parse(config as string)).toMatchObject({
      mcpServers: {
        pyro: {
          command: "wsl.exe",
          args: ["-d", "Debian", "--", expect.stringMatching(/^\//), "mcp", "serve"],
        },
      },
    });
  });

  test("come to a server where they can", async () => {
    const url = "http://127.0.0.1:8765/mcp";
    const config = async (name: string): Promise<unknown> =>
      JSON.parse(String((await on.json("print-config", name, "--url", url))["config"]));
    expect(await config("cursor")).toEqual({
      mcpServers: { pyro: { url, headers: { Authorization: "Bearer ${env:PYRO_TOKEN}" } } },
    });
    expect(await config("generic")).toEqual({
      mcpServers: { pyro: { type: "http", url, headers: { Authorization: "Bearer ${PYRO_TOKEN}" } } },
    });
    expect((await on.host("print-config", "claude-desktop", "--url", url)).stderr).toMatch(
      /names programs only/,
    );
  });
});

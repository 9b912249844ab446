import { execFile } from "node:child_process";
import { chmod, mkdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { tokenOfFile } from "../../../../src/kit/index.js";
import { httpToken } from "../../../../src/mcp/http/index.js";
import { listenAddress } from "../../../../src/mcp/index.js";
import { temporaryState } from "../../../fakes/state-directory.js";
import { TOKEN } from "./served.js";

describe("where it listens", () => {
  it.each([
    ["8765", { host: "127.0.0.1", port: 8765, isLoopback: true }],
    ["0", { host: "127.0.0.1", port: 0, isLoopback: true }],
    ["localhost:80", { host: "127.0.0.1", port: 80, isLoopback: true }],
    ["127.0.0.1:65535", { host: "127.0.0.1", port: 65535, isLoopback: true }],
    ["127.8.0.1:1", { host: "127.8.0.1", port: 1, isLoopback: true }],
    ["[::1]:9", { host: "::1", port: 9, isLoopback: true }],
    ["0.0.0.0:80", { host: "0.0.0.0", port: 80, isLoopback: false }],
    ["[::]:80", { host: "::", port: 80, isLoopback: false }],
    ["[::ffff:127.0.0.1]:80", { host: "::ffff:127.0.0.1", port: 80, isLoopback: false }],
    ["192.0.2.7:80", { host: "192.0.2.7", port: 80, isLoopback: false }],
    ["Build.Example:80", { host: "build.example", port: 80, isLoopback: false }],
    ["localhost.example:80", { host: "localhost.example", port: 80, isLoopback: false }],
    ["127.example:80", { host: "127.example", port: 80, isLoopback: false }],
  ])("%s", (text, address) => {
    expect(listenAddress(text)).toEqual(address);
  });

  it.each([
    ":80",
    "*:80",
    "a b:80",
    "http://x:80",
    "-x:80",
    "127.1:80",
    "0x7f000001:80",
    "x..y:80",
    "[x]:80",
  ])("not at %s", (text) => {
    expect(() => listenAddress(text)).toThrow(/is neither an address nor a host's name/);
  });

  it.each(["65536", "-1", "", "80x", "1e3", "999999", "x:", "::"])("not at the port of %j", (text) => {
    expect(() => listenAddress(text)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error);
  });
});

describe("the token that is made", () => {
  it("stays from one start to the next, for the user alone, and two that start at once agree", async () => {
    await using state = await temporaryState();
    const made = await Promise.all([httpToken(state.path), httpToken(state.path)]);
    expect(made[0]).toEqual(made[1]);
    expect(made[0].token).toMatch(/^[\w-]{43}$/);
    expect((await stat(made[0].path)).mode & 0o777).toBe(0o600);
    expect(await httpToken(state.path)).toEqual(made[0]);
  });
});

describe("a file with the user's own token", () => {
  it.each([
    TOKEN,
    "x".repeat(1024),
    "0123456789abcdef0123456789abcde=",
    "A-Za-z0-9._~+/A-Za-z0-9._~+/A-Za-z0-9==",
  ])("gives its line: %s", async (token) => {
    await using state = await temporaryState();
    const path = join(state.path, "token");
    await writeFile(path, `${token}\n`, { mode: 0o600 });
    expect(await tokenOfFile(path)).toBe(token);
    await symlink(path, `${path}-link`);
    expect(await tokenOfFile(`${path}-link`)).toBe(token);
  });

  it.each([
    ["nothing", "", /has no token/],
    ["less than nobody guesses", "x".repeat(31), /has no token: one line of 32 to 1024/],
    ["more than a header takes", "x".repeat(1025), /has no token/],
    ["two lines", `${TOKEN}\n${TOKEN}\n`, /has no token/],
    ["characters that no header has", `${TOKEN}ü`, /has no token/],
    ["a whole header", `Authorization: Bearer ${TOKEN}`, /has no token/],
    ["a great deal", "x".repeat(5_000), /has 5000 bytes/],
  ])("is refused with %s, and not shown", async (_, content, says) => {
    await using state = await temporaryState();
    const path = join(state.path, "token");
    await writeFile(path, content, { mode: 0o600 });
    const error = await tokenOfFile(path).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(says) as string });
    if (content !== "") expect(JSON.stringify(error)).not.toContain(content.slice(0, 31));
  });

  it.each([0o640, 0o604, 0o620, 0o644, 0o666])("is refused where others have it (mode %i)", async (mode) => {
    await using state = await temporaryState();
    const path = join(state.path, "token");
    await writeFile(path, TOKEN);
    await chmod(path, mode);
    await expect(tokenOfFile(path)).rejects.toMatchObject({
      message: expect.stringContaining(`mode 0${mode.toString(8)}`) as string,
      hint: `run \`chmod 600 ${path}\``,
    });
  });

  it("is refused where it is no file, and a pipe holds nothing up; the hint makes a good one", async () => {
    await using state = await temporaryState();
    const directory = join(state.path, "directory");
    const pipe = join(state.path, "pipe");
    const missing = join(state.path, "missing");
    await mkdir(directory, { mode: 0o700 });
    await promisify(execFile)("mkfifo", ["-m", "600", pipe]);
    for (const path of [directory, pipe])
      await expect(tokenOfFile(path)).rejects.toThrow(`the token's file ${path} is no file`);
    const { message, hint } = (await tokenOfFile(missing).catch((thrown: unknown) => thrown)) as {
      message: string;
      hint: string;
    };
    expect(message).toBe(`the token's file ${missing} is not there`);
    await promisify(execFile)("sh", ["-c", /`([^`]+)`/.exec(hint)?.[1] ?? ""]);
    expect(await tokenOfFile(missing)).toBe((await readFile(missing, "utf8")).trim());
  });
});

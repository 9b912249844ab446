import { randomBytes } from "node:crypto";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { CANARY, expectNowhere, filesWith } from "./canary.js";
import { eventually, json, pyro, start, testState, type Result, type TestState } from "./support.js";

/** No secret: of what the guest holds, this is found. */
const MARKER = `marker-${randomBytes(16).toString("hex")}`;
const SUSPENDS = 5;
const SECRET = ["--secret-env", "TOKEN"] as const;

/** Much of it in the memory of the last process that had it: nobody uses those pages after it. */
const HOARDS = `
import base64, os, urllib.parse
token = os.environ["TOKEN"]
held = [f"{index} {token} {urllib.parse.quote(token, safe='')}" for index in range(100_000)]
held += [base64.b64encode(line.encode()) for line in held[:1000]]
print("hoarded", token)
`;
const SHOWS = `echo "<$TOKEN>"; printf %s "$TOKEN" | base64 -w0; echo do''ne`;

let state: TestState;
let tokenFile: string;
/** A command that lives all the time. */
let holds: ReturnType<typeof start> | undefined;
beforeAll(async () => {
  state = await testState();
  tokenFile = join(state.path, "..", `pyro-token-${randomBytes(6).toString("hex")}`);
  await writeFile(tokenFile, `${CANARY}\n`, { mode: 0o600 });
});
afterAll(async () => {
  holds?.kill("SIGKILL");
  await holds?.done;
  await rm(tokenFile, { force: true });
  await state[Symbol.asyncDispose]();
});

const run = async (...args: string[]): Promise<Result> => {
  const result = await pyro(["workspace", ...args], { stateDir: state.path });
  expect(`${result.stdout.toString()}${result.stderr}`).not.toContain(CANARY.slice(3, 20));
  return result;
};
const done = async (...args: string[]): Promise<Record<string, unknown>> => {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const result = await run(...args.slice(0, end), "--json", ...args.slice(end));
  expect(result.code, `${args.join(" ")}: ${result.stderr}`).toBe(0);
  return json(result);
};
const shell = async (name: string, types: string, until: RegExp): Promise<string> => {
  const id = String((await done("shell", "open", name, ...SECRET))["shell_id"]);
  await done("shell", "write", name, id, "--input", types);
  await eventually("the shell shows it", async () =>
    until.test(String((await done("shell", "read", name, id, "--plain"))["output"])),
  );
  return id;
};

/** Every way in which a process is given a secret, and shows it; all of them end. Gives a shell that is still known. */
async function flow(name: string): Promise<string> {
  expect((await run("exec", name, ...SECRET, "--", "sh", "-c", SHOWS)).stdout.toString()).toMatch(
    /^<\[REDACTED\]>\n\[REDACTED\].*done\n$/,
  );
  const closed = await shell(name, SHOWS, /<\[REDACTED\].*done/s);
  await done("shell", "close", name, closed);
  const exited = await shell(name, `${SHOWS}; exit`, /<\[REDACTED\].*done.*logout/s);
  await done("service", "start", name, "web", ...SECRET, "--", "sh", "-c", `${SHOWS}; exec sleep 300`);
  await eventually("the service shows it", async () =>
    (await run("service", "logs", name, "web")).stdout.toString().includes("done"),
  );
  await done("service", "stop", name, "web");
  const hoards = await run("exec", name, ...SECRET, "--", "python3", "-c", HOARDS);
  expect(hoards.stdout.toString()).toBe("hoarded [REDACTED]\n");
  return exited;
}

async function expectAlive(name: string, exited: string): Promise<void> {
  expect((await run("service", "logs", name, "web")).stdout.toString()).toContain("<[REDACTED]");
  const read = await done("shell", "read", name, exited, "--plain");
  expect(String(read["output"])).toMatch(/<\[REDACTED\].*logout/s);
  const got = await run("exec", name, ...SECRET, "--", "sh", "-c", 'echo "got $TOKEN"');
  expect(got.stdout.toString()).toBe("got [REDACTED]\n");
}

it(
  "finds no secret in saved memory once all who were given it have ended, by the search that finds what lives",
  { timeout: 500_000 },
  async () => {
    const created = await done("create", "debian:12", "--name", "w", "--secret-file", `TOKEN=${tokenFile}`);
    const directory = join(state.path, "workspaces", String(created["workspace_id"]));
    await rm(tokenFile);
    holds = start(["workspace", "exec", "w", "--env", `MARKER=${MARKER}`, "--", "sleep", "900"], {
      stateDir: state.path,
    });
    await eventually("it runs", async () =>
      (await run("status", "w")).stdout.toString().includes("sleep 900"),
    );
    for (let round = 1; round <= SUSPENDS; round += 1) {
      const exited = await flow("w");
      expect((await done("stop", "w", "--suspend"))["secrets_in_memory"]).toEqual([]);
      expect(await filesWith(join(directory, "memory"), [], [MARKER])).toBe(`${directory}/memory/memory\n`);
      await expectNowhere(state.path, []);
      await done("start", "w");
      await expectAlive("w", exited);
    }

    // A memory that is copied while the machine runs on.
    const exited = await flow("w");
    await done("snapshot", "create", "w", "kept", "--memory");
    const taken = await filesWith(join(directory, "snapshots"), [], [MARKER]);
    expect(taken).toMatch(/\/image\/memory\n$/);
    await expectNowhere(state.path, []);
    const { children } = (await done("fork", "w", "--count", "1", "--name-prefix", "copy")) as {
      children: { workspace_id: string }[];
    };
    await expectAlive("copy-1", exited);
    // What a child was given it holds in a memory of its own: as it is saved, so the first.
    const child = join(state.path, "workspaces", String(children[0]?.workspace_id));
    await done("stop", "copy-1", "--suspend");
    expect(await filesWith(join(child, "memory"), [], [MARKER])).toBe(`${child}/memory/memory\n`);
    await expectNowhere(state.path, []);
    await done("delete", "copy-1");
    await done("reset", "w", "--snapshot", "kept");
    await expectAlive("w", exited);
    await done("delete", "w");
    expect((await holds.done).code).not.toBe(0);
  },
);

/** What a developer has open goes on: a dev server, a transaction, a shell and a command, across forks, a suspend, a resume. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PyroError } from "../../src/protocol/index.js";
import type { Pyro, ServiceRecord, ShellAttachment } from "../../src/sdk/index.js";
import { client, eventually, machinesOf, testState, type TestState } from "./support.js";

/** Answers with the host name of the moment, and how many it has answered: its memory is its own. */
const SERVER = `
import http.server, socket
class Handler(http.server.BaseHTTPRequestHandler):
    answered = 0
    def do_GET(self):
        Handler.answered += 1
        body = f"{socket.gethostname()} {Handler.answered}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
`;

/** A transaction that is open until a file appears; then it commits a row of whoever it is. */
const TRANSACTION = `
import os, socket, sqlite3, time
db = sqlite3.connect("/workspace/rows.db", isolation_level=None)
db.execute("create table if not exists rows (who text)")
db.execute("begin immediate")
db.execute("insert into rows values ('before')")
print("open", flush=True)
while not os.path.exists("/tmp/commit"): time.sleep(0.02)
db.execute("insert into rows values (?)", (socket.gethostname(),))
db.execute("commit")
`;
const ROWS =
  'python3 -c \'import sqlite3; print([who for who, in sqlite3.connect("rows.db").execute("select who from rows")])\'';

/** Numbers its lines until a file appears. */
const COUNT = "i=0; while [ ! -e /tmp/enough ]; do i=$((i+1)); echo $i; sleep 0.02; done; echo end $i";

/** The program of the shell: it remembers a word in its memory, says it on each line, and how many lines it was given. */
const WORD = 'word=kept; n=0; while read -r line; do n=$((n+1)); echo "<$word $n $line>"; done';

let state: TestState;
let pyro: Pyro;
let parent: string;
let shellId: string;
let attachment: ShellAttachment;
/** What whoever is attached to the parent's shell has seen, and the error that ended it. */
let seen = "";
let attached: Promise<PyroError>;
let counting: Promise<string>;
let before: ServiceRecord;

beforeAll(async () => {
  state = await testState();
  pyro = await client(state.path);
  parent = (await pyro.createWorkspace({ environment: "debian:12", ttlSeconds: 3600 })).workspaceId;
  await pyro.writeWorkspaceFile({ workspaceId: parent, path: "server.py", content: SERVER });
  before = await pyro.startService({
    workspaceId: parent,
    serviceName: "dev",
    command: "exec python3 server.py",
    readiness: { type: "http", url: "http://localhost:8000/" },
  });
  const transaction = { workspaceId: parent, argv: ["python3", "-c", TRANSACTION] };
  const opened = await pyro.execWorkspace({ ...transaction, waitMs: 0 });
  await eventually("the transaction is open", async () => {
    const { output } = await pyro.logsWorkspace({ workspaceId: parent, sequence: opened.sequence });
    return Buffer.from(output?.stdout.data ?? []).toString() === "open\n";
  });
  counting = run(parent, COUNT);
  const { shellId: id } = await pyro.openShell({ workspaceId: parent, argv: ["sh", "-c", WORD] });
  shellId = id;
  attachment = pyro.attachShell({ workspaceId: parent, shellId });
  attached = watch(attachment).then(
    (event) => Promise.reject(new Error(`the attached terminal ended with ${event}`)),
    (error: unknown) => error as PyroError,
  );
  await type(parent, "before");
});
afterAll(async () => {
  attachment.detach();
  for (const { workspaceId } of await pyro.listWorkspaces()) await pyro.deleteWorkspace(workspaceId);
  await pyro[Symbol.asyncDispose]();
  expect(await machinesOf(state.path)).toEqual([]);
  await state[Symbol.asyncDispose]();
});

/** Keeps what an attached terminal sees, until it ends. */
async function watch(terminal: ShellAttachment): Promise<string> {
  for await (const event of terminal) {
    if (event.type === "output") seen += Buffer.from(event.data).toString();
    if (event.type === "reconnecting") return event.type;
  }
  return "ended";
}

/** All that a command writes, as its stream brings it. */
async function run(workspaceId: string, line: string): Promise<string> {
  let text = "";
  for await (const event of pyro.streamWorkspaceExec({ workspaceId, command: line }))
    if (event.type === "stdout") text += Buffer.from(event.data).toString();
  return text;
}

/** Without a program of its own to start, which costs a second here. */
const get = (workspaceId: string): Promise<string> =>
  run(
    workspaceId,
    `exec bash -c 'exec 3<>/dev/tcp/localhost/8000; printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3; tail -n 1 <&3'`,
  );
const hostOf = async (workspaceId: string): Promise<string> => (await run(workspaceId, "hostname")).trim();
/** What no two machines may have in common, and the time. */
const IDENTITY =
  "hostname; cat /etc/machine-id /proc/sys/kernel/random/boot_id; od -An -tx1 -N16 /dev/urandom; date +%s";
const service = (workspaceId: string): Promise<ServiceRecord> =>
  pyro.statusService({ workspaceId, serviceName: "dev" });

/** Types a line into the shell of a workspace, and waits for what its program says of it. */
async function type(workspaceId: string, line: string): Promise<string> {
  await pyro.writeShell({ workspaceId, shellId, input: `${line}\r` });
  let answer = "";
  await eventually(`the shell of ${workspaceId} answers to ${line}`, async () => {
    const { output } = await pyro.readShell({ workspaceId, shellId });
    answer = new RegExp(`<[^>]* ${line}>`).exec(output)?.[0] ?? "";
    return answer !== "";
  });
  return answer;
}

/** The same process as before, which has run since then. */
function expectSameService(now: ServiceRecord): void {
  const { state: is, pid, startedAt, readyAt, readiness, command } = now;
  expect({ is, pid, startedAt, readyAt, readiness, command }).toEqual({
    ...{ is: "running", pid: before.pid, startedAt: before.startedAt, readyAt: before.readyAt },
    ...{ readiness: before.readiness, command: before.command },
  });
  const age = (Date.now() - Date.parse(before.startedAt)) / 1000;
  expect(Math.abs(now.uptimeSeconds - age)).toBeLessThan(10);
}

describe("A dev server, an open transaction, an open shell and a command", () => {
  const all: string[] = [];

  it("go on in a workspace that is forked, in each child, and in a child's child", async () => {
    const { children, sourceWorkspaceId } = await pyro.forkWorkspace(parent, {
      count: 2,
      namePrefix: "child",
    });
    expect([sourceWorkspaceId, ...children.map((child) => child.sourceWorkspaceId)]).toEqual(
      Array(3).fill(parent),
    );
    expect(children.map((child) => [child.state, child.serviceCount, child.runningServiceCount])).toEqual([
      ["started", 1, 1],
      ["started", 1, 1],
    ]);
    const grand = await pyro.forkWorkspace("child-1", { namePrefix: "grandchild" });
    expect(grand.children.map((child) => [child.state, child.runningServiceCount])).toEqual([["started", 1]]);
    all.push(parent, "child-1", "child-2", "grandchild-1");
    for (const [index, workspace] of all.entries()) {
      expectSameService(await service(workspace));
      // The one that asked whether it is ready was the first; the parent answered it alone.
      const answers = [await get(workspace), await get(workspace)];
      const host = await hostOf(workspace);
      const [first = 0, second] = answers.map((answer) => Number(answer.split(" ")[1]));
      expect([answers.map((answer) => answer.split(" ")[0]), second]).toEqual([[host, host], first + 1]);
      // Its memory came along, and is its own: each counts on by itself.
      expect(await type(workspace, `line${index}`)).toBe(`<kept 2 line${index}>`);
    }
    const identities = await Promise.all(all.map((workspace) => run(workspace, IDENTITY)));
    const facts = identities.flatMap((identity) => identity.trim().split("\n").slice(0, 4));
    expect(new Set(facts).size).toBe(4 * all.length);
    for (const identity of identities)
      expect(Math.abs(Number(identity.trim().split("\n")[4]) - Date.now() / 1000)).toBeLessThan(3);
  });

  it("show whoever is attached to the parent's shell what comes there, and nothing of the children's", async () => {
    expect(await type(parent, "parentonly")).toBe("<kept 3 parentonly>");
    await eventually("it is seen", () => Promise.resolve(seen.includes("<kept 3 parentonly>")));
    expect(seen.match(/<[^>]*>/g)).toEqual(["<kept 1 before>", "<kept 2 line0>", "<kept 3 parentonly>"]);
    for (const workspace of all.slice(1)) {
      const { output, state: is } = await pyro.readShell({ workspaceId: workspace, shellId });
      expect([is, output.includes("parentonly")]).toEqual(["running", false]);
    }
  });

  it("end in one, and nowhere else", async () => {
    const stopped = await pyro.stopService({ workspaceId: "child-2", serviceName: "dev" });
    expect([stopped.state, stopped.stopReason, stopped.pid]).toEqual(["stopped", "requested", null]);
    await pyro.closeShell({ workspaceId: "child-2", shellId });
    for (const workspace of all.filter((name) => name !== "child-2")) {
      expectSameService(await service(workspace));
      expect(await get(workspace)).toMatch(/ \d+$/);
      expect((await pyro.listShells(workspace)).map((shell) => shell.state)).toEqual(["running"]);
    }
    expect(await get("child-2")).toBe("");
    expect(await pyro.listShells("child-2")).toEqual([]);
  });

  it("go on after a suspend and a resume, of a child as well; who was attached is told so, and attaches again", async () => {
    for (const workspace of [parent, "child-1"]) {
      const answered = Number((await get(workspace)).split(" ")[1]);
      const suspended = await pyro.stopWorkspace(workspace, { suspend: true });
      expect([suspended.state, suspended.runningServiceCount]).toEqual(["suspended", 1]);
      // Nobody is there to be asked: it is told as it was.
      expect((await service(workspace)).state).toBe("running");
      await expect(pyro.readShell({ workspaceId: workspace, shellId })).rejects.toMatchObject({
        code: "WORKSPACE_STOPPED",
      });
      expect((await pyro.startWorkspace(workspace)).state).toBe("started");
      expectSameService(await service(workspace));
      expect(await get(workspace)).toBe(`${await hostOf(workspace)} ${answered + 1}`);
      expect(await type(workspace, "afterwards")).toMatch(/^<kept \d afterwards>$/);
    }
    expect(await attached).toMatchObject({
      code: "WORKSPACE_STOPPED",
      message: expect.stringMatching(/was suspended meanwhile$/) as string,
      hint: expect.stringContaining(`pyro workspace start ${parent}`) as string,
    });
    seen = "";
    attachment = pyro.attachShell({ workspaceId: parent, shellId });
    const again = watch(attachment);
    // The picture has what came before.
    await eventually("it sees the shell", () => Promise.resolve(seen.includes("parentonly>")));
    attachment.detach();
    await again;
  });

  it("each commit a row of their own, and no line of the command is lost or told twice", async () => {
    for (const workspace of all) await run(workspace, "touch /tmp/commit /tmp/enough");
    for (const workspace of all) {
      const rows = `['before', '${await hostOf(workspace)}']\n`;
      await eventually(`${workspace} committed its row`, async () => (await run(workspace, ROWS)) === rows);
    }
    const lines = (await counting).trim().split("\n");
    const last = lines.length - 1;
    expect(lines).toEqual([...Array.from({ length: last }, (_, index) => String(index + 1)), `end ${last}`]);
  });

  it("of the children outlive their parent's end", async () => {
    await pyro.stopWorkspace(parent);
    await expect(pyro.forkWorkspace(parent)).rejects.toMatchObject({ code: "WORKSPACE_STOPPED" });
    expect(await get("grandchild-1")).toMatch(/ \d+$/);
  });
});

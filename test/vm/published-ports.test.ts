/** A dev server in a workspace, with a websocket, as a browser on this host sees it through its published ports. */
import { readdir, readFile, readlink } from "node:fs/promises";
import { connect, createServer, type AddressInfo, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { dumpDom } from "./browser.js";
import { mcpSession } from "./mcp-session.js";
import { eventually, json, pyro, testState, type Result, type TestState } from "./support.js";

/**
 * A page that shows what the server's websocket answers (RFC 6455, short unfragmented texts alone), and is loaded once it
 * has shown it: its picture comes then.
 */
const SERVER = String.raw`
import base64, hashlib, http.server, itertools, socket, threading

PAGE = """<!doctype html><title>dev server</title><p id="answer">nothing yet</p>
<script>
  const socket = new WebSocket("ws://" + location.host + "/echo?%d");
  socket.onopen = () => socket.send("echo");
  socket.onmessage = ({ data }) => {
    document.getElementById("answer").textContent = data;
    socket.send("shown");
  };
</script>
<img src="/shown?%d">"""
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
loads = itertools.count(1)
shown = {}

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path, _, load = self.path.partition("?")
        if path == "/":
            load = next(loads)
            shown[load] = threading.Event()
            self.answer("text/html", (PAGE % (load, load)).encode())
        elif path == "/shown":
            shown[int(load)].wait(60)
            self.answer("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg"/>')
        elif path == "/echo":
            self.echo(shown[int(load)])
        else:
            self.answer("text/plain", b"ready")

    def echo(self, seen):
        accept = hashlib.sha1((self.headers["sec-websocket-key"] + GUID).encode()).digest()
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "Upgrade")
        self.send_header("sec-websocket-accept", base64.b64encode(accept).decode())
        self.end_headers()
        self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 15 != 1: return
            mask, body = self.rfile.read(4), self.rfile.read(head[1] & 127)
            text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(body)).decode()
            if text == "shown":
                seen.set()
                continue
            said = f"{text} from {socket.gethostname()}".encode()
            self.wfile.write(bytes([0x81, len(said)]) + said)

http.server.ThreadingHTTPServer(("127.0.0.1", 3000), Handler).serve_forever()
`;

let state: TestState;
let id: string;
/** A port of this host that was free when it was asked for. */
let port: number;

beforeAll(async () => {
  state = await testState();
  const created = await call("create", "debian:12", "--network-policy", "egress+published-ports", "--json");
  id = String(json(created)["workspace_id"]);
  await call("file", "write", id, "server.py", "--text", SERVER);
  const free = await listen(0);
  port = portOf(free);
  await close(free);
});
afterAll(async () => {
  await call("delete", id);
  await state[Symbol.asyncDispose]();
});

const call = (...args: string[]): Promise<Result> => pyro(["workspace", ...args], { stateDir: state.path });
const portOf = (server: Server): number => (server.address() as AddressInfo).port;
const close = (server: Server): Promise<unknown> => new Promise((resolve) => server.close(resolve));

async function listen(at: number): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(at, "127.0.0.1", resolve);
  });
  return server;
}

interface Service {
  readonly state: string;
  readonly published_ports: readonly {
    readonly host_port: number;
    readonly state: string;
    reason: unknown;
  }[];
}

async function service(verb: "start" | "status" | "stop", ...args: string[]): Promise<Service> {
  const words = args.indexOf("--");
  const [options, command] = words < 0 ? [args, []] : [args.slice(0, words), args.slice(words)];
  return json(await call("service", verb, id, ...options, "--json", ...command)) as unknown as Service;
}
const READY = ["--ready-http", "http://127.0.0.1:3000/ready", "--ready-timeout-seconds", "120"];
const serve = (...publish: string[]): Promise<Service> =>
  service("start", "web", ...publish, ...READY, "--", "python3", "server.py");

const hostname = async (): Promise<string> =>
  (await call("exec", id, "--", "hostname")).stdout.toString().trim();
/** What the page of the dev server shows once its websocket has answered. */
async function shown(at = port): Promise<string | undefined> {
  return /<p id="answer">([^<]*)<\/p>/.exec(await dumpDom(`http://127.0.0.1:${at}/`))?.[1];
}
/** How a connection to a port of this host ends that sends nothing: "open" where it goes on. */
async function probe(at = port): Promise<string> {
  return await new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port: at });
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""));
    socket.setTimeout(1_500, () => {
      socket.destroy();
      resolve("open");
    });
    socket.on("end", () => {
      socket.destroy();
      resolve("ended");
    });
  });
}

/** A connection that says nothing, and how it ends. */
async function hold(): Promise<{ readonly ended: Promise<string> }> {
  const socket = connect({ host: "127.0.0.1", port });
  const ended = new Promise<string>((resolve) => {
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""));
    socket.on("close", () => resolve("closed"));
  });
  await new Promise((resolve) => socket.once("connect", resolve));
  const opened = async (): Promise<boolean> =>
    (await published()).some(({ decision }) => decision === "open");
  await eventually("the connection is in the record", opened);
  return { ended };
}
/** Connections to published ports, as the network's record has them. */
async function published(): Promise<Record<string, unknown>[]> {
  const { entries } = json(await call("network", id, "--json")) as { entries: Record<string, unknown>[] };
  return entries.filter(({ kind }) => kind === "published");
}

/** Of the daemon; one is started where none runs. */
async function daemonPid(): Promise<number> {
  await call("list");
  const pid = Number(json(await pyro(["daemon", "status", "--json"], { stateDir: state.path }))["pid"]);
  // As a target of a signal, 0 would be this test.
  if (!(pid > 1)) throw new Error(`the daemon has no pid: ${pid}`);
  return pid;
}
/** Ends the daemon as nothing can be prepared for, and starts the next one. */
async function nextDaemon(meanwhile: () => Promise<void> = () => Promise.resolve()): Promise<void> {
  const pid = await daemonPid();
  process.kill(pid, "SIGKILL");
  await eventually("its ports are closed", async () => (await probe()) === "ECONNREFUSED");
  await meanwhile();
  expect(await daemonPid()).not.toBe(pid);
}

/** TCP ports that a process listens on, each with its address as /proc has it. */
async function listening(pid: number): Promise<string[]> {
  const names = await readdir(`/proc/${pid}/fd`);
  const links = await Promise.all(names.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => "")));
  const tables = await Promise.all(
    ["tcp", "tcp6"].map((table) => readFile(`/proc/${pid}/net/${table}`, "utf8")),
  );
  const rows = tables
    .flatMap((table) => table.trim().split("\n").slice(1))
    .map((row) => row.trim().split(/\s+/));
  return rows
    .filter((row) => row[3] === "0A" && links.includes(`socket:[${row[9] ?? ""}]`))
    .map((row) => row[1] ?? "");
}
/** As /proc spells a port of 127.0.0.1. */
const loopback = (at: number): string => `0100007F:${at.toString(16).toUpperCase().padStart(4, "0")}`;

describe("A dev server whose ports are published", () => {
  it("is fetched by a browser of this host, websocket included, by the port asked for and by one that the system chose", async () => {
    const started = await serve("--publish", `${port}:3000`, "--publish", "3000");
    expect(started.published_ports).toMatchObject([
      { host: "127.0.0.1", host_port: port, guest_port: 3000, state: "open" },
      { host: "127.0.0.1", guest_port: 3000, state: "open" },
    ]);
    const chosen = started.published_ports[1]?.host_port ?? 0;
    const said = `echo from ${await hostname()}`;
    expect([await shown(), await shown(chosen)]).toEqual([said, said]);
    expect((await listening(await daemonPid())).sort()).toEqual([loopback(port), loopback(chosen)].sort());
    expect((await call("port", "list", id)).stdout.toString()).toBe(
      `127.0.0.1:${port} → web:3000\n127.0.0.1:${chosen} → web:3000\n`,
    );
  });

  it("has each connection of the browser in the network's record", async () => {
    const ended = (await published()).filter(({ end }) => end === "finished");
    expect(ended.length).toBeGreaterThanOrEqual(2);
    for (const entry of ended) expect(entry).toMatchObject({ name: "web", port: 3000, decision: "allowed" });
    const text = (await call("network", id)).stdout.toString();
    expect(text).toMatch(/^\d+ connections to published ports$/m);
    expect(text).toMatch(/ allowed +→ web:3000 /);
    expect(ended.some(({ bytes_down: down }) => Number(down) > 500)).toBe(true);
  });

  it("is there again under the next daemon when one is killed, by the same ports", async () => {
    const before = await service("status", "web");
    await nextDaemon();
    await eventually("the port leads in", async () => (await probe()) === "open");
    expect((await service("status", "web")).published_ports).toEqual(before.published_ports);
    expect(await shown()).toBe(`echo from ${await hostname()}`);
  });

  it("says so where another program took its port before the next daemon came, which takes no other", async () => {
    let thief: Server | undefined;
    await nextDaemon(async () => {
      thief = await listen(port);
    });
    const { state: is, published_ports: ports } = await service("status", "web");
    expect([is, ports[0], ports[1]?.state]).toEqual([
      "running",
      expect.objectContaining({
        ...{ host_port: port, state: "closed" },
        reason: expect.stringContaining(`port ${port} of 127.0.0.1 is in use on the host`) as string,
      }),
      "open",
    ]);
    if (thief !== undefined) await close(thief);
    // The next look that there is: here the policy's.
    await call("network", "set", id, "--network-policy", "egress+published-ports");
    expect(await shown()).toBe(`echo from ${await hostname()}`);
  });

  it("is out of reach while its workspace is suspended, and there again afterwards", async () => {
    const { ended } = await hold();
    expect((await call("stop", id, "--suspend")).code).toBe(0);
    expect([await ended, await probe()]).toEqual(["ECONNRESET", "ECONNREFUSED"]);
    expect((await published()).at(-1)).toMatchObject({
      end: expect.stringMatching(/agent is gone|not published any more/) as string,
    });
    expect((await service("status", "web")).published_ports[0]).toMatchObject({
      ...{ state: "closed", reason: "the workspace is suspended" },
    });
    expect((await call("start", id)).code).toBe(0);
    expect(await shown()).toBe(`echo from ${await hostname()}`);
  });

  it("stays its own where the workspace is forked: the child's says whose the port is", async () => {
    const { ended } = await hold();
    const fork = json(await call("fork", id, "--json")) as { children: { workspace_id: string }[] };
    const child = fork.children[0]?.workspace_id ?? "";
    const [childs] = json(await call("service", "status", child, "web", "--json"))[
      "published_ports"
    ] as unknown[];
    expect(await ended).toBe("ECONNRESET");
    expect((await published()).at(-1)).toMatchObject({
      end: expect.stringMatching(/agent is gone|not published any more/) as string,
    });
    expect(childs).toMatchObject({
      ...{ host_port: port, state: "closed" },
      reason: expect.stringContaining(`${id}, from which this workspace was forked, keeps it`) as string,
    });
    expect(await shown()).toBe(`echo from ${await hostname()}`);
    expect((await call("delete", child)).code).toBe(0);
    expect(await probe()).toBe("open");
  });

  it("is closed at once by a policy that publishes no ports, under which none can be published", async () => {
    await call("network", "set", id, "--network-policy", "egress");
    expect(await probe()).toBe("ECONNREFUSED");
    for (const policy of ["egress", "off"]) {
      await call("network", "set", id, "--network-policy", policy);
      const refused = await call("service", "start", id, "other", "--publish", "3000", "--", "sleep", "600");
      expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("PUBLISHING_NOT_ALLOWED")]);
      expect(refused.stderr).toContain(
        `pyro workspace network set ${id} --add --network-policy egress+published-ports`,
      );
    }
    await call("network", "set", id, "--network-policy", "egress+published-ports");
    expect(await shown()).toBe(`echo from ${await hostname()}`);
  });

  it("is gone from the host when it is stopped", async () => {
    const { published_ports: ports } = await service("status", "web");
    expect(await service("stop", "web")).toMatchObject({ state: "stopped", published_ports: [] });
    for (const { host_port: at } of ports) expect(await probe(at)).toBe("ECONNREFUSED");
    expect(await listening(await daemonPid())).toEqual([]);
  });
});

describe("A port that cannot be had", () => {
  it.each<[string, () => Promise<string>, string, string]>([
    ["taken", async () => `${portOf(await listenUntilTheEnd())}:3000`, "PORT_TAKEN", "in use on the host"],
    ["privileged", () => Promise.resolve("80:3000"), "PORT_PRIVILEGED", "such as 8080"],
  ])(
    "because it is %s is the error of the start, and nothing of that is left",
    async (_, text, code, says) => {
      const publish = ["--publish", `${port}:3000`, "--publish", await text()];
      const refused = await call("service", "start", id, "unlucky", ...publish, "--", "sleep", "600");
      expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining(code)]);
      expect(refused.stderr).toContain(says);
      expect(await probe()).toBe("ECONNREFUSED");
      expect((await call("service", "status", id, "unlucky")).stderr).toContain("SERVICE_NOT_FOUND");
      await Promise.all(held.splice(0).map(close));
    },
  );

  it("by a service that is not ready in time, or ends by itself, is free again", async () => {
    const late = ["--publish", `${port}:3000`, "--ready-file", "never", "--ready-timeout-seconds", "1"];
    const failed = await call("service", "start", id, "late", ...late, "--", "sleep", "600");
    expect([failed.code, failed.stderr]).toEqual([1, expect.stringContaining("SERVICE_FAILED")]);
    expect(await probe()).toBe("ECONNREFUSED");
    await service("start", "short", "--publish", `${port}:3000`, "--", "sleep", "6");
    // Nobody listens in the machine: the connection is taken, and reset.
    expect(await probe()).toBe("ECONNRESET");
    await eventually("it ended", async () => (await probe()) === "ECONNREFUSED");
  });
});

it("A workspace that is stopped, reset or deleted leaves no port behind", async () => {
  for (const end of ["stop", "reset", "delete"]) {
    await serve("--publish", `${port}:3000`);
    expect(await probe()).toBe("open");
    expect((await call(end, id)).code).toBe(0);
    expect(await probe()).toBe("ECONNREFUSED");
    expect(await listening(await daemonPid())).toEqual([]);
    if (end === "stop") expect((await call("start", id)).code).toBe(0);
    if (end === "reset") await call("file", "write", id, "server.py", "--text", SERVER);
  }
});

it("A model shows its user a page, where the user lets it publish ports", async () => {
  const flags = ["--mode", "cold-start", "--no-project-source", "--network-policy", "egress+published-ports"];
  await using session = await mcpSession({ stateDir: state.path, cwd: state.path, flags });
  const workspace = { workspace_id: "shown" };
  await session.call("workspace_create", { name: "shown" });
  await session.call("workspace_file_write", { ...workspace, path: "server.py", text: SERVER });
  const { words, record } = await session.call("service_start", {
    ...{ ...workspace, service_name: "web", command: "exec python3 server.py" },
    ...{ readiness: { type: "tcp", address: ":3000" }, published_ports: [{ guest_port: 3000 }] },
  });
  const [open] = record["published_ports"] as { host_port: number }[];
  expect(words).toContain(`127.0.0.1:${open?.host_port} → 3000`);
  expect(await shown(open?.host_port)).toMatch(/^echo from /);
  await session.call("service_stop", { ...workspace, service_name: "web" });
  expect(await probe(open?.host_port)).toBe("ECONNREFUSED");
  await session.call("workspace_delete", workspace);
});

const held: Server[] = [];
async function listenUntilTheEnd(): Promise<Server> {
  const server = await listen(0);
  held.push(server);
  return server;
}

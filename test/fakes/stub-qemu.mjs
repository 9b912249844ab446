// Stands in for QEMU: `node stub-qemu.mjs MODE …QEMU's arguments…`, in the machine's directory. See stub-qemu.ts.
import { readFileSync, writeSync } from "node:fs";
import { connect, createServer } from "node:net";

const mode = process.argv[2];
let connected = 0;
const STATE = "what the stub saved";

function serve(path, onConnection) {
  createServer(onConnection).listen(path);
}

function speakQmp(socket, { refuse = false } = {}) {
  const send = (message) => socket.write(`${JSON.stringify(message)}\r\n`);
  let status = "running";
  let console = "Kernel panic - not syncing: \u001b[31mstub\u001b[0m\r\n";
  send({ QMP: { version: { qemu: { major: 7, minor: 2, micro: 0 } }, capabilities: [] } });
  const event = (name, data) => send({ event: name, data, timestamp: {} });
  const answers = {
    "query-migrate-capabilities": () => [{ capability: "x-ignore-shared", state: false }],
    "migrate-set-capabilities": () => ({}),
    "query-chardev": () => [
      { label: "agent", filename: `${connected > 0 ? "" : "disconnected:"}unix:agent.sock` },
    ],
    "query-migrate": () => ({ status: "failed", "error-desc": "the stub's reason" }),
    migrate: ({ uri }) => {
      const to = connect(uri.replace("unix:", ""));
      to.on("error", () => event("MIGRATION", { status: "failed" }));
      to.end(STATE, () => event("MIGRATION", { status: "completed" }));
      return {};
    },
    "migrate-incoming": ({ uri }) => {
      const good = readFileSync(Number(uri.replace("fd:", "")), "utf8") === STATE;
      status = "paused";
      if (!good) writeSync(2, "qemu-stub: load of migration failed\n");
      setTimeout(() => {
        event("MIGRATION", { status: good ? "completed" : "failed" });
        if (!good) setTimeout(() => process.exit(1), 10);
      }, 5);
      return {};
    },
    "query-status": () => ({ status, running: status === "running" }),
    "ringbuf-read": () => {
      const text = Buffer.from(console).toString("base64");
      console = "";
      return text;
    },
    cont: () => ((status = "running"), {}),
    stop: () => ((status = "paused"), {}),
    fill: () => ((status = "io-error"), {}),
  };
  let rest = "";
  socket.on("error", () => undefined);
  socket.on("data", (chunk) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const { execute, id, arguments: given } = JSON.parse(line);
      if (execute === "quit") {
        send({ return: {}, id });
        setTimeout(() => process.exit(0), 10);
      } else if (refuse) send({ error: { class: "GenericError", desc: "the stub refuses" }, id });
      else if (execute === "qmp_capabilities") send({ return: {}, id });
      else if (answers[execute] === undefined)
        send({ error: { class: "CommandNotFound", desc: `no ${execute}` }, id });
      else send({ return: answers[execute](given), id });
    }
  });
  process.on("SIGUSR1", () => {
    status = "shutdown";
    send({ event: "SHUTDOWN", data: { guest: true, reason: "guest-panic" }, timestamp: {} });
  });
  process.on("SIGUSR2", () => (status = "io-error"));
}

const forever = () => setInterval(() => undefined, 1000);

const modes = {
  exit: () => {
    writeSync(2, "qemu-stub: \u001b[31mno such machine\u001b[0m\n");
    process.exit(1);
  },
  hang: forever,
  silent: () => serve("qmp.sock", () => undefined),
  close: () => serve("qmp.sock", (socket) => socket.destroy()) ?? forever(),
  garbage: () => serve("qmp.sock", (socket) => socket.write("HTTP/1.1 400 \u001b[2JBad Request\r\n\r\n")),
  number: () => serve("qmp.sock", (socket) => socket.write("42\n")),
  endless: () =>
    serve("qmp.sock", (socket) => {
      const more = () => socket.write(Buffer.alloc(65536, 97), (error) => error ?? more());
      socket.on("error", () => undefined);
      more();
    }),
  refuse: () => serve("qmp.sock", (socket) => speakQmp(socket, { refuse: true })),
  flood: () => {
    const chunk = Buffer.alloc(1024 * 1024, "x".repeat(99) + "\n");
    for (let sent = 0; sent < 1024; sent += 1)
      for (let at = 0; at < chunk.length;) at += write(chunk.subarray(at));
    writeSync(2, "the last words\n");
    process.exit(3);
  },
  ok: () => {
    serve("qmp.sock", (socket) => speakQmp(socket));
    serve("agent.sock", (socket) => {
      connected += 1;
      socket.on("close", () => (connected -= 1));
      socket.pipe(socket).on("error", () => undefined);
    });
  },
  later: () => {
    modes.ok();
    setTimeout(() => {
      writeSync(2, "qemu-stub: later\n");
      process.exit(4);
    }, 300);
  },
};

/** A pipe of Node's is non-blocking. */
function write(bytes) {
  try {
    return writeSync(2, bytes);
  } catch (error) {
    if (error.code === "EAGAIN") return 0;
    throw error;
  }
}

modes[mode]();

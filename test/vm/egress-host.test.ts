/** What a host's user set up for going out, in a network of the test's own: an authority, names, a proxy; git and others over it. */
import { execFile, execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NEIGHBOUR, noNamespaces, TestNetwork, WORLD } from "./namespaces.js";
import { json, pyro, testState, type TestState } from "./support.js";
import { workspaceOf } from "./workspace-of.js";

const execute = promisify(execFile);

/** Serves a directory by HTTP and HTTPS in the world, and as a neighbour a proxy that only tunnels; tells who asks it for what. */
const SERVERS = `
const [world, neighbour, directory, key, cert] = process.argv.slice(1);
const { createReadStream, readFileSync } = require("node:fs");
const serve = (request, response) =>
  createReadStream(directory + new URL(request.url, "http://x").pathname)
    .on("error", () => response.writeHead(404).end())
    .pipe(response);
const proxy = require("node:http").createServer((_, response) => response.writeHead(405).end());
proxy.on("connect", ({ url, headers }, socket) => {
  console.log(url + " " + (headers["proxy-authorization"] ?? ""));
  const [host, port] = url.split(":");
  const server = require("node:net").connect({ host, port, allowHalfOpen: true }, () => {
    socket.write("HTTP/1.1 200 OK\\r\\n\\r\\n");
    socket.pipe(server).pipe(socket);
  });
  for (const one of [server, socket]) one.on("error", () => { server.destroy(); socket.destroy(); });
});
const tls = { key: readFileSync(key), cert: readFileSync(cert) };
require("node:http").createServer(serve).listen(80, world, () =>
  require("node:https").createServer(tls, serve).listen(443, world, () =>
    proxy.listen(3128, neighbour, () => console.log("ready"))));
`;
const NAME = "git.example.org";

describe("A daemon in a network of the test's own", async () => {
  const reason = await noNamespaces();
  if (reason !== undefined) {
    console.log(`skipped: ${reason}`);
    it.skip(`needs network namespaces: ${reason}`);
    return;
  }
  let state: TestState;
  let directory: string;
  let network: TestNetwork;
  let kill: () => Promise<void>;
  const asked: string[] = [];
  const { call, sh, record, lastRefusal } = workspaceOf(() => state, "git");

  beforeAll(async () => {
    state = await testState();
    directory = await mkdtemp(join(tmpdir(), "pyro-world-"));
    await mkdir(join(directory, "served"));
    makeRepository(directory);
    makeCertificates(directory);
    // The daemon's user trusts the test's authority, by the configuration.
    await mkdir(join(directory, ".config/pyro"), { recursive: true });
    await writeFile(
      join(directory, ".config/pyro/config.toml"),
      `certificates = ["${directory}/authority.pem"]\npackage_sources = false\n`,
    );
    network = await TestNetwork.create(directory, [NAME]);
    const files = ["served", "server.key", "server.pem"].map((name) => join(directory, name));
    await network.serve(SERVERS, [WORLD, NEIGHBOUR, ...files], (line) => asked.push(line));
    kill = await network.daemon(state.path, { HOME: directory });
    const options = ["--name", "git", "--network-policy", "egress"];
    expect((await call("create", "debian:12-build", ...options)).code).toBe(0);
  });
  afterAll(async () => {
    await call("delete", "git");
    await pyro(["daemon", "stop", "--force"], { stateDir: state.path });
    await network[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
    await state[Symbol.asyncDispose]();
  });

  const clone = (scheme: string): Promise<string> =>
    sh(
      `rm -rf /tmp/clone; git clone -q ${scheme}://${NAME}/small.git /tmp/clone && git -C /tmp/clone log --format=%s`,
    );

  it("clones over http from a server at an address of the internet, and not from its host's neighbour", async () => {
    expect(await clone("http")).toBe("the first commit\n");
    expect((await record()).entries).toContainEqual(
      expect.objectContaining({ decision: "allowed", name: NAME, address: WORLD, port: 80 }),
    );
    expect(await sh(`curl -sS http://${NEIGHBOUR}/ || true`)).toMatch(/No route to host|Couldn't connect/);
    expect(await lastRefusal()).toContain(`refuses ${NEIGHBOUR}:80: 10.0.0.0/8 is private`);
  });

  it("trusts an authority that only its user trusts: git, curl, Python and OpenSSL, by their own settings", async () => {
    expect(await clone("https")).toBe("the first commit\n");
    expect(await sh(`curl -sS https://${NAME}/hello`)).toBe("hello\n");
    expect(
      await sh(`python3 -c 'import urllib.request as u; print(u.urlopen("https://${NAME}/hello").read())'`),
    ).toBe("b'hello\\n'\n");
    expect(await sh(`openssl s_client -connect ${NAME}:443 </dev/null | grep 'Verify return'`)).toContain(
      "0 (ok)",
    );
    expect(json(await call("diff", "git", "--json"))).toMatchObject({ changed: false });
    const run = ["run", "debian:12-build", "--network", "--", "curl", "-sS", `https://${NAME}/hello`];
    expect((await pyro(run, { stateDir: state.path })).stdout.toString()).toBe("hello\n");
  });

  it("gives that after a reset too, takes it back without a network, and gives it again", async () => {
    expect((await call("reset", "git")).code).toBe(0);
    expect(await clone("https")).toBe("the first commit\n");
    const look =
      "ls /usr/local/share/ca-certificates; grep -c 'From the host' /etc/ssl/certs/ca-certificates.crt; env | grep -c CERT";
    const on = await sh(look);
    expect(on).toBe("pyro-host.crt\n2\n2\n");
    await call("network", "set", "git", "--network-policy", "off");
    expect(await sh(look)).toBe("0\n0\n");
    await call("network", "set", "git", "--network-policy", "egress");
    expect(await sh(look)).toBe(on);
    // What was sealed, or stood on the disk when it was stopped, is taken back too.
    await call("stop", "git");
    await call("network", "set", "git", "--network-policy", "off");
    for (const again of ["start", "reset"]) {
      expect((await call(again, "git")).code).toBe(0);
      expect(await sh(look)).toBe("0\n0\n");
    }
    await call("network", "set", "git", "--network-policy", "egress");
    expect(await sh(look)).toBe(on);
  });

  it("goes out by its host's proxy, which is asked for the address alone, and tells nobody its password", async () => {
    await kill();
    await network.route(false);
    asked.length = 0;
    const proxy = `http://someone:hush-hush@${NEIGHBOUR}:3128`;
    kill = await network.daemon(state.path, { HOME: directory, HTTPS_PROXY: proxy });
    expect(await clone("https")).toBe("the first commit\n");
    const credentials = Buffer.from("someone:hush-hush").toString("base64");
    expect(new Set(asked)).toEqual(new Set([`${WORLD}:443 Basic ${credentials}`]));
    // The proxy would reach itself, and is asked for nothing that policy refuses.
    await sh(`curl -sS http://${NEIGHBOUR}:3128/`);
    expect(new Set(asked).size).toBe(1);
    const shown =
      JSON.stringify(await record()) +
      (await pyro(["doctor", "--json"], { stateDir: state.path })).stdout.toString();
    expect(shown).toContain(`by the proxy ${NEIGHBOUR}:3128`);
    const { stdout } = await execute("grep", [
      "-rc",
      "--include=*.log",
      "--include=*.jsonl",
      "hush-hush",
      state.path,
    ]).catch((error: unknown) => error as { stdout: string });
    expect(shown).not.toContain("hush-hush");
    expect(stdout).toMatch(/daemon\.log:0$/m);
    expect(stdout).not.toMatch(/:[1-9]\d*$/m);
  });
});

/** A bare repository for "dumb" HTTP: plain files. */
function makeRepository(directory: string): void {
  const git = (...args: string[]): void => {
    const as = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"];
    execFileSync("git", [...as, ...args], { cwd: directory, stdio: "ignore" });
  };
  git("init", "-q", "-b", "main", "work");
  git("-C", "work", "commit", "-q", "--allow-empty", "-m", "the first commit");
  git("clone", "-q", "--bare", "work", "served/small.git");
  git("-C", "served/small.git", "update-server-info");
  execFileSync("sh", ["-c", "echo hello >served/hello"], { cwd: directory });
}

/** An authority, and a server's certificate by it. */
function makeCertificates(directory: string): void {
  const openssl = (...args: string[]): void => {
    execFileSync("openssl", args, { cwd: directory, stdio: "ignore" });
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl(
    "req",
    "-x509",
    ...key,
    "-days",
    "2",
    "-subj",
    "/CN=an authority",
    "-keyout",
    "authority.key",
    "-out",
    "authority.pem",
  );
  openssl("req", ...key, "-subj", `/CN=${NAME}`, "-keyout", "server.key", "-out", "server.csr");
  execFileSync("sh", ["-c", `echo subjectAltName=DNS:${NAME} >server.ext`], { cwd: directory });
  const signed = [
    "-CA",
    "authority.pem",
    "-CAkey",
    "authority.key",
    "-CAcreateserial",
    "-extfile",
    "server.ext",
  ];
  openssl("x509", "-req", "-in", "server.csr", ...signed, "-days", "2", "-out", "server.pem");
}

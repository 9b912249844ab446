import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { eventually, PYRO } from "./support.js";

const execute = promisify(execFile);
const ip = async (...args: string[]): Promise<string> => (await execute("ip", args)).stdout;

/** Why no namespaces can be made here; undefined where they can. */
export async function noNamespaces(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return "network namespaces take root";
  const name = `pyro-try-${process.pid}`;
  return await ip("netns", "add", name).then(
    () => ip("netns", "delete", name).then(() => undefined),
    (error: unknown) => `no network namespace can be made: ${String(error).split("\n")[1] ?? ""}`,
  );
}

/** The address of the world's only server: public by every table, and routed nowhere but between the two namespaces. */
export const WORLD = "203.0.114.7";
/** The servers' address on the link between them: the network of the daemon's host. */
export const NEIGHBOUR = "10.77.0.2";
const OWN = "10.77.0.1";

/**
 * A host and a world of their own: two network namespaces with a cable between them, no way out of either. What is started
 * here is ended, and proven to be, when it is disposed of.
 */
export class TestNetwork implements AsyncDisposable {
  readonly #children: ChildProcess[] = [];
  readonly #host = `pyro-host-${process.pid}`;
  readonly #world = `pyro-world-${process.pid}`;

  private constructor(private readonly directory: string) {}

  /** @param names of WORLD, as the host's file says */
  static async create(directory: string, names: readonly string[]): Promise<TestNetwork> {
    const network = new TestNetwork(directory);
    await network.#build();
    await writeFile(join(directory, "hosts"), `127.0.0.1 localhost\n${WORLD} ${names.join(" ")}\n`);
    await writeFile(join(directory, "resolv.conf"), "nameserver 127.0.0.1\n");
    return network;
  }

  async #build(): Promise<void> {
    const [host, world] = [this.#host, this.#world];
    await ip("netns", "add", host);
    await ip("netns", "add", world);
    await ip("-n", host, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", world);
    for (const name of [host, world]) await ip("-n", name, "link", "set", "lo", "up");
    await ip("-n", host, "address", "add", `${OWN}/30`, "dev", "cable");
    await ip("-n", world, "address", "add", `${NEIGHBOUR}/30`, "dev", "cable");
    await ip("-n", world, "address", "add", `${WORLD}/32`, "dev", "lo");
    for (const name of [host, world]) await ip("-n", name, "link", "set", "cable", "up");
    await this.route(true);
  }

  /** Whether the host has a way to WORLD; without, only a neighbour's proxy has. */
  async route(isThere: boolean): Promise<void> {
    await ip("-n", this.#host, "route", isThere ? "add" : "delete", `${WORLD}/32`, "via", NEIGHBOUR);
  }

  /** A program of Node's in the world, which prints a line when it is ready; the lines after that go to `onLine`. */
  async serve(program: string, args: readonly string[], onLine: (line: string) => void): Promise<void> {
    const argv = ["netns", "exec", this.#world, process.execPath, "-e", program, ...args];
    const child = spawn("ip", argv, { stdio: ["ignore", "pipe", "inherit"] });
    this.#children.push(child);
    let isReady = false;
    child.stdout.on("data", (chunk: Buffer) => {
      isReady = true;
      for (const line of chunk.toString().trim().split("\n")) onLine(line);
    });
    await eventually("the server listens", () => Promise.resolve(isReady));
  }

  /** A daemon on this host, which knows names by its own hosts file; it is killed by what this gives. */
  async daemon(stateDir: string, env: Readonly<Record<string, string>>): Promise<() => Promise<void>> {
    const mounts = ["hosts", "resolv.conf"].map(
      (name) => `mount --bind ${this.directory}/${name} /etc/${name}`,
    );
    const line = `${mounts.join(" && ")} && exec "$@"`;
    const daemon = [process.execPath, PYRO, "--state-dir", stateDir, "daemon", "run"];
    // `ip netns exec` makes a mount namespace of its own, so nobody else sees these mounts.
    const child = spawn("ip", ["netns", "exec", this.#host, "sh", "-c", line, "sh", ...daemon], {
      env: { PATH: process.env["PATH"] ?? "", PYRO_POOL: "0", ...env },
      stdio: ["ignore", "ignore", "inherit"],
    });
    this.#children.push(child);
    const answers = (): Promise<boolean> =>
      execute(process.execPath, [PYRO, "--state-dir", stateDir, "daemon", "status", "--json"]).then(
        ({ stdout }) => (JSON.parse(stdout) as { pid?: number }).pid === child.pid,
        () => false,
      );
    await eventually("the daemon answers", answers);
    return () => end(child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#children.map(end));
    const left: string[] = [];
    for (const name of [this.#host, this.#world]) {
      const pids = await ip("netns", "pids", name);
      if (pids.trim() !== "") left.push(`processes in ${name}: ${pids}`);
      // The cable goes with the first of them.
      await ip("netns", "delete", name);
    }
    const names = await ip("netns", "list");
    if (names.includes(this.#host) || names.includes(this.#world)) left.push(`namespaces: ${names}`);
    const links = await ip("link", "show");
    if (links.includes("cable")) left.push(`links: ${links}`);
    if (left.length > 0) throw new Error(`left behind:\n${left.join("\n")}`);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

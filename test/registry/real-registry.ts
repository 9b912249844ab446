import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createPort, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { complete, launch, type Child } from "../../src/kit/index.js";

/** Runs a tool to its end. */
export async function tool(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderrTail } = await complete(program, args, { maxBytes: 16 * 1024 * 1024 });
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${code}: ${stderrTail}`);
  return stdout;
}

/** Debian's docker-registry on a port of its own, with what skopeo copied into it. */
export interface RealRegistry extends AsyncDisposable {
  readonly directory: string;
  /** As references name it. */
  readonly name: string;
  readonly pid: number;
  /** Makes an image with umoci, a layer for each file of this host, and copies it in. */
  addImage(repository: string, tag: string, files: readonly string[]): Promise<void>;
  /**
   * Makes an image with umoci, whose layers are these tars, and copies it in.
   * @param config further words for `umoci config`
   */
  addLayers(
    repository: string,
    tag: string,
    tars: readonly string[],
    config?: readonly string[],
  ): Promise<void>;
}

/** Who may do anything at a registry with a login: a password, and what bcrypt makes of it. */
export const LOGIN = { username: "ann", password: "guess-me" };
const HTPASSWD = "ann:$2b$04$7sri2T53gXBb5n9TPQdz.e60XPnJttUxKPiu3YweP3oe4owSCvwfm\n";

/** @param options more of its configuration: a login for everything, or no changes */
export async function startRegistry(
  options: { readonly login?: boolean; readonly readOnly?: boolean } = {},
): Promise<RealRegistry> {
  const missing: string[] = [];
  for (const program of ["docker-registry", "skopeo", "umoci"]) {
    if ((await complete("which", [program])).code !== 0) missing.push(program);
  }
  if (missing.length > 0)
    throw new Error(`${missing.join(", ")} missing: run \`scripts/setup.sh --for-tests\``);
  const directory = await mkdtemp(join(tmpdir(), "pyro-registry-test-"));
  const port = await freePort();
  const name = `localhost:${port}`;
  const configuration = join(directory, "config.yml");
  const readOnly = options.readOnly === true ? ", maintenance: {readonly: {enabled: true}}" : "";
  const storage = `storage: {filesystem: {rootdirectory: ${join(directory, "data")}}${readOnly}}`;
  const users = join(directory, "htpasswd");
  await writeFile(users, HTPASSWD);
  const auth = options.login === true ? `auth: {htpasswd: {realm: test, path: ${users}}}\n` : "";
  await writeFile(configuration, `version: 0.1\n${storage}\n${auth}http: {addr: "127.0.0.1:${port}"}\n`);
  const child: Child = await launch("docker-registry", ["serve", configuration]);
  const deadline = Date.now() + 20_000;
  while (!(await answers(`http://${name}/v2/`))) {
    if (Date.now() > deadline) {
      const { stderrTail } = await child.close();
      throw new Error(`docker-registry does not answer: ${stderrTail}`);
    }
    await sleep(50);
  }
  const layout = join(directory, "layout");
  await tool("umoci", "init", "--layout", layout);
  const copyIn = async (image: string, repository: string, tag: string): Promise<void> => {
    const copy = ["--insecure-policy", "copy", "--dest-tls-verify=false"];
    await tool("skopeo", ...copy, `oci:${image}`, `docker://${name}/${repository}:${tag}`);
  };
  return {
    ...{ directory, name, pid: child.pid },
    addImage: async (repository, tag, files) => {
      const image = `${layout}:${tag}`;
      await tool("umoci", "new", "--image", image);
      for (const file of files) await tool("umoci", "insert", "--image", image, file, file);
      await tool(
        "umoci",
        "config",
        "--image",
        image,
        "--config.env",
        "GREETING=hello",
        "--config.cmd",
        files[0] ?? "",
      );
      await copyIn(image, repository, tag);
    },
    addLayers: async (repository, tag, tars, config = []) => {
      const image = `${layout}:${repository.replaceAll("/", "-")}-${tag}`;
      await tool("umoci", "new", "--image", image);
      for (const tar of tars) await tool("umoci", "raw", "add-layer", "--image", image, tar);
      if (config.length > 0) await tool("umoci", "config", "--image", image, ...config);
      await copyIn(image, repository, tag);
    },
    [Symbol.asyncDispose]: async () => {
      await child.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function answers(url: string): Promise<boolean> {
  return await fetch(url).then(
    ({ ok, status }) => ok || status === 401,
    () => false,
  );
}

async function freePort(): Promise<number> {
  const server = createPort().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

const BYTES_AHEAD = 256 * 1024;

/** One answer for a blob, as it was handed on. */
export interface Handed {
  readonly path: string;
  readonly from: number;
  bytes: number;
}

/** Stands before a registry, hands on and counts. */
export class CountingProxy implements AsyncDisposable {
  readonly paths: string[] = [];
  readonly blobs: Handed[] = [];
  /** Told after each piece of a blob. */
  onBytes: (handed: Handed) => void = () => undefined;
  /**
   * How many bytes of a blob have arrived so far: no more than BYTES_AHEAD are sent beyond them. A network that is slower
   * than whoever reads, so that what a killed process had not read yet does not lie in the system's buffers.
   */
  arrived: ((handed: Handed) => Promise<number>) | undefined;
  readonly #server: Server;

  private constructor(registry: string) {
    this.#server = createServer((incoming, outgoing) => {
      const path = incoming.url ?? "";
      this.paths.push(path);
      const up = httpRequest(`http://${registry}${path}`, { headers: { ...incoming.headers } }, (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        const from = Number(/bytes (\d+)-/.exec(answer.headers["content-range"] ?? "")?.[1] ?? 0);
        const handed: Handed = { path, from, bytes: 0 };
        if (!path.includes("/blobs/")) {
          answer.pipe(outgoing);
          return;
        }
        this.blobs.push(handed);
        this.#handOn(answer, outgoing, handed).catch(() => outgoing.destroy());
      });
      up.on("error", () => outgoing.destroy());
      outgoing.on("close", () => up.destroy());
      up.end();
    });
  }

  static async start(registry: string): Promise<CountingProxy> {
    const proxy = new CountingProxy(registry);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  async #handOn(answer: IncomingMessage, outgoing: ServerResponse, handed: Handed): Promise<void> {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      while (this.arrived !== undefined && !outgoing.destroyed) {
        if (handed.from + handed.bytes - (await this.arrived(handed)) < BYTES_AHEAD) break;
        await sleep(1);
      }
      if (outgoing.destroyed) return;
      await new Promise<void>((resolve) => outgoing.write(chunk, () => resolve()));
      handed.bytes += chunk.length;
      this.onBytes(handed);
    }
    outgoing.end();
  }

  get name(): string {
    return `localhost:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** Whether a process is there, and is more than an entry that waits to be reaped. */
export async function isRunning(pid: number): Promise<boolean> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return text !== "" && !/\) Z /.test(text);
}

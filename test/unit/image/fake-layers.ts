import { appendFile, readFile, writeFile } from "node:fs/promises";
import { complete } from "../../../src/kit/index.js";
import type { LayerMaker, LayerRequest, LayerResult } from "../../../src/image/index.js";

/** What the command that settles an environment prints. */
const PACKAGES = "alpha 1:2.0-1\nbeta 1:2.0-1\n";

/** As apt tells of it. */
const FETCHED = `Get:1 http://mirror.test/debian bookworm InRelease [151 kB]
Get:2 http://mirror.test/debian bookworm/main amd64 alpha amd64 1:2.0-1 [7256 kB]
`;

/** Writes down what it is asked for: a layer has what lies below it, and the command. */
export class FakeLayers implements LayerMaker {
  readonly requests: LayerRequest[] = [];
  /** Images that are held now. */
  readonly held = new Set<string>();
  /** How commands with a network end. */
  installing: LayerResult & { readonly printed: string } = {
    ...{ exitCode: 0, how: "exit 0", printed: "Setting up alpha (1:2.0-1) ...\n" },
  };
  /** What is in the files that were unpacked. */
  unpacked = "";

  constructor(private readonly log?: string) {}

  hold(digest: string): Disposable {
    this.held.add(digest);
    return { [Symbol.dispose]: () => void this.held.delete(digest) };
  }

  async make(request: LayerRequest): Promise<LayerResult> {
    const { image, below, target, files, argv, network, onOutput, signal } = request;
    signal.throwIfAborted();
    if (!this.held.has(image.digest)) throw new Error("the image is not held");
    this.requests.push(request);
    const doing = network === undefined ? "settle" : "install";
    if (this.log !== undefined) await appendFile(this.log, `${doing}\n`);
    if (files !== undefined) this.unpacked = (await complete("tar", ["xOf", files])).stdout;
    const under = await readFile(below.at(-1) ?? image.path, "latin1");
    await writeFile(target, `over ${under.slice(0, 1000)}\n${argv.slice(3).join(" ")}`, { flag: "wx" });
    if (network === undefined) {
      onOutput({ stream: "stderr", data: Buffer.from("fstrim: no\n") });
      onOutput({ stream: "stdout", data: Buffer.from(PACKAGES) });
      return { exitCode: 0, how: "exit 0" };
    }
    const { printed, ...result } = this.installing;
    onOutput({ stream: "stdout", data: Buffer.from(FETCHED) });
    onOutput({ stream: "stdout", data: Buffer.from(printed) });
    return result;
  }
}

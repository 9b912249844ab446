import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { eventually, processes } from "../vm/support.js";

type Message = Readonly<Record<string, unknown>> & { readonly id?: number; readonly method?: string };

/** An event of the page: its name in the DevTools protocol, and what it says. */
export interface PageEvent {
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
}

/**
 * One page of a headless Chromium of this host, driven by the DevTools protocol over a pipe. It resolves no name, and
 * disposing it leaves neither process nor file.
 */
export class BrowserPage implements AsyncDisposable {
  /** What happened since they were taken last. */
  readonly events: PageEvent[] = [];
  readonly #child: ChildProcess;
  readonly #profile: string;
  readonly #waiting = new Map<number, (message: Message) => void>();
  #sessionId: string | undefined;
  #lastId = 0;

  private constructor(child: ChildProcess, profile: string) {
    this.#child = child;
    this.#profile = profile;
    let rest = "";
    (child.stdio[4] as Readable).setEncoding("utf8").on("data", (chunk: string) => {
      const parts = (rest + chunk).split("\0");
      rest = parts.pop() ?? "";
      for (const part of parts) this.#take(JSON.parse(part) as Message);
    });
  }

  static async open(): Promise<BrowserPage> {
    const profile = await mkdtemp(join(tmpdir(), "pyro-docs-browser-"));
    const args = [
      ...["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"],
      ...[
        "--disable-background-networking",
        "--disable-component-update",
        "--no-proxy-server",
        "--hide-scrollbars",
      ],
      ...["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", `--user-data-dir=${profile}`],
    ];
    const child = spawn("chromium", [...args, "--remote-debugging-pipe", "about:blank"], {
      stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
      detached: true,
    });
    const failed = once(child, "error").then(([error]) => {
      throw new Error("this test needs Chromium: `scripts/setup.sh --for-tests` installs it", {
        cause: error,
      });
    });
    const page = new BrowserPage(child, profile);
    await Promise.race([failed, page.#attach()]);
    return page;
  }

  async #attach(): Promise<void> {
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    this.#sessionId = sessionId as string;
    for (const domain of ["Page", "Runtime", "Network", "Log"]) await this.send(`${domain}.enable`);
  }

  /** Calls a method of the protocol and gives its result. */
  async send(method: string, params: object = {}): Promise<Readonly<Record<string, unknown>>> {
    const id = ++this.#lastId;
    const answer = new Promise<Message>((resolve) => this.#waiting.set(id, resolve));
    const message = {
      id,
      method,
      params,
      ...(this.#sessionId === undefined ? {} : { sessionId: this.#sessionId }),
    };
    (this.#child.stdio[3] as Writable).write(`${JSON.stringify(message)}\0`);
    const { result, error } = await answer;
    if (error !== undefined) throw new Error(`${method}: ${JSON.stringify(error)}`);
    return result as Readonly<Record<string, unknown>>;
  }

  /** The value of an expression on the page; a promise is waited for. */
  async evaluate(expression: string): Promise<unknown> {
    const { result } = await this.send("Runtime.evaluate", {
      expression,
      returnByValue: true,
      awaitPromise: true,
    });
    return (result as { value?: unknown }).value;
  }

  /** Goes to an address and waits until its program has taken the page over: what that breaks is told by then. */
  async visit(url: string): Promise<void> {
    this.events.length = 0;
    await this.send("Page.navigate", { url });
    for (let turn = 0; turn < 2000; turn++) {
      if (
        await this.evaluate(
          "document.readyState === 'complete' && '__vue_app__' in (document.querySelector('#app') ?? {})",
        )
      )
        break;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await this.evaluate(
      "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))",
    );
  }

  async setSize(width: number, height: number, dark: boolean): Promise<void> {
    const mobile = width < 600;
    await this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile });
    const features = [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }];
    await this.send("Emulation.setEmulatedMedia", { features });
  }

  /** A picture of what is seen, as PNG. */
  async picture(): Promise<Buffer> {
    const { data } = await this.send("Page.captureScreenshot", { format: "png" });
    return Buffer.from(data as string, "base64");
  }

  #take(message: Message): void {
    const { id, method, params } = message;
    if (id !== undefined) {
      this.#waiting.get(id)?.(message);
      this.#waiting.delete(id);
    } else if (method !== undefined) this.events.push({ method, params: params as PageEvent["params"] });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { pid, exitCode, signalCode } = this.#child;
    if (pid !== undefined && exitCode === null && signalCode === null) {
      const closed = once(this.#child, "close");
      // Its helpers are of its group: all go with it.
      process.kill(-pid, "SIGKILL");
      await closed;
    }
    await eventually("the browser is gone", async () =>
      (await processes()).every(({ line }) => !line.includes(this.#profile)),
    );
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

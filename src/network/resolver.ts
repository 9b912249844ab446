import { lookup } from "node:dns/promises";
import { readFile } from "node:fs/promises";
import { Slots, untilAborted } from "../kit/index.js";
import { LIMITS } from "../protocol/index.js";
import { parseAddress, type IpAddress } from "./address.js";
import { resolvableName } from "./names.js";

/** Texts of the addresses of a canonical name, as some resolver says; throws what node:dns throws. */
export type LookUp = (name: string) => Promise<readonly string[]>;

/** What became of looking a name up; `failed` says why for the user's record. */
export type Resolution =
  | { readonly kind: "found"; readonly addresses: readonly IpAddress[] }
  | { readonly kind: "not-found" }
  | { readonly kind: "failed"; readonly why: string };

const HOSTS_FILE = "/etc/hosts";

/**
 * The host's own resolver, with all that its user set up (getaddrinfo). The root's dot at the end keeps search domains out;
 * the hosts file does not know names with it, so those that stand there are asked without.
 */
const hostLookUp: LookUp = async (name) => {
  const isListed = listsName(await readFile(HOSTS_FILE, "utf8").catch(() => ""), name);
  const found = await lookup(isListed ? name : resolvableName(name), { all: true, verbatim: true });
  return found.map(({ address }) => address);
};

/** Whether a hosts file has the name. */
export function listsName(hosts: string, name: string): boolean {
  return hosts.split("\n").some((line) => {
    const [, ...names] = (line.split("#")[0] ?? "").trim().split(/\s+/);
    return names.some((one) => one.toLowerCase() === name);
  });
}

/**
 * getaddrinfo holds one of the process's few threads for as long as it takes, and cannot be stopped: all workspaces
 * together look up three names at once, one workspace two, so that neither files nor other workspaces wait for one
 * whose resolver does not answer.
 */
export class SharedLookUp {
  readonly #slots = new Slots(LIMITS.networkLookUps);
  constructor(readonly lookUp: LookUp = hostLookUp) {}

  /** Asks in turn, and lets go of `own`, the asker's turn among its own, when the thread is free again. */
  async ask(name: string, signal: AbortSignal, own: Disposable): Promise<readonly string[]> {
    let slot: Disposable;
    try {
      slot = await this.#slots.take(signal);
    } catch (error) {
      own[Symbol.dispose]();
      throw error;
    }
    // Whoever still waits for it.
    const asking = this.lookUp(name).finally(() => {
      slot[Symbol.dispose]();
      own[Symbol.dispose]();
    });
    return await untilAborted(asking, signal);
  }
}

/** Looks names up for one workspace: one question for whoever asks at once, and its answer for a minute. */
export class Resolver {
  readonly #own = new Slots(LIMITS.networkLookUpsPerWorkspace);
  /** Questions under way, and their answers while they count; the oldest first. */
  readonly #asked = new Map<string, { readonly answer: Promise<Resolution>; staleAt: number }>();

  constructor(
    private readonly shared: SharedLookUp,
    private readonly deadlineMs: number = LIMITS.networkLookUpMs,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Never rejects, and answers within the deadline. `name` is canonical. */
  async resolve(name: string): Promise<Resolution> {
    const known = this.#asked.get(name);
    if (known !== undefined && this.now() < known.staleAt) return await known.answer;
    if (this.#own.queued >= LIMITS.networkLookUpsWaiting) {
      return { kind: "failed", why: `${LIMITS.networkLookUpsWaiting} other names are being looked up` };
    }
    const entry = { answer: this.#ask(name), staleAt: Infinity };
    this.#asked.delete(name);
    this.#asked.set(name, entry);
    if (this.#asked.size > LIMITS.networkAnswersKept)
      this.#asked.delete(this.#asked.keys().next().value ?? "");
    const { kind } = await entry.answer;
    entry.staleAt = this.now() + (kind === "found" ? LIMITS.networkAnswerMs : LIMITS.networkFailureMs);
    return await entry.answer;
  }

  async #ask(name: string): Promise<Resolution> {
    const signal = AbortSignal.timeout(this.deadlineMs);
    try {
      const texts = await this.shared.ask(name, signal, await this.#own.take(signal));
      return { kind: "found", addresses: canonical(texts) };
    } catch (error) {
      if (signal.aborted) return { kind: "failed", why: `no answer within ${this.deadlineMs} ms` };
      const code = (error as NodeJS.ErrnoException).code ?? "an error";
      return NO_SUCH_NAME.has(code) ? { kind: "not-found" } : { kind: "failed", why: code };
    }
  }
}

const NO_SUCH_NAME: ReadonlySet<string> = new Set(["ENOTFOUND", "ENODATA", "EAI_NODATA", "EAI_NONAME"]);

/** The first so many different ones; what is no address is none, whatever the resolver says. */
function canonical(texts: readonly string[]): IpAddress[] {
  const found = new Map<string, IpAddress>();
  for (const text of texts.slice(0, 4 * LIMITS.networkAddressesPerName)) {
    const address = parseAddress(text);
    if (address !== undefined) found.set(address.text, address);
  }
  return [...found.values()].slice(0, LIMITS.networkAddressesPerName);
}

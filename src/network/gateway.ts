import { Slots } from "../kit/index.js";
import { LIMITS } from "../protocol/index.js";
import { parseAddress, type IpAddress } from "./address.js";
import { Connection, type Gate } from "./connection.js";
import { dialDirectly, failureOf, placeOf, type Dial } from "./dial.js";
import type { NetworkEntry } from "./entry.js";
import { FirstBytes, type LookAtFirstBytes } from "./first-look.js";
import { NameTable } from "./name-table.js";
import { parseName } from "./names.js";
import type { IncomingPipe, WantedTarget } from "./pipe.js";
import { judgeAddress, judgeName, type NetworkPolicy, type Target } from "./policy.js";
import { isProblem } from "./problem.js";
import { HOST_ALIAS } from "./reach.js";
import type { NetworkRecord } from "./record.js";
import { Resolver, type SharedLookUp } from "./resolver.js";
import { judgeTold } from "./told-address.js";
import type { Refusal } from "./verdict.js";

export interface GatewayOptions {
  readonly policy: NetworkPolicy;
  readonly record: NetworkRecord;
  /** One for all gateways of the process. */
  readonly lookUp: SharedLookUp;
  /** judgeFirstBytes when left out. */
  readonly look?: LookAtFirstBytes;
  /** How it connects; directly when left out. */
  readonly dial?: Dial;
  readonly lookUpMs?: number;
  readonly connectMs?: number;
}

/** An answer to a guest that asks for the addresses of a name. */
export type NameAnswer =
  | { readonly addresses: readonly Uint8Array[]; readonly ttlSeconds: number }
  | { readonly failure: "not-found" | "refused" | "failed" };

/** One that is dialled or open. */
interface Open {
  readonly target: Target;
  readonly first: FirstBytes;
  /** Ends it, whatever it is doing. */
  readonly end: (why: string, verdict?: Refusal) => void;
}

/**
 * The only way from a workspace's machine to anything else. What policy judged is what is dialled: addresses, which
 * are never looked up again. The host's loopback is reached as host.pyro.internal alone, at ports that the user opened.
 */
export class Gateway {
  readonly record: NetworkRecord;
  #policy: NetworkPolicy;
  readonly #names = new NameTable();
  readonly #resolver: Resolver;
  readonly #dials = new Slots(LIMITS.networkDials);
  readonly #open = new Set<Open>();
  #closed: string | undefined;

  constructor(private readonly options: GatewayOptions) {
    this.record = options.record;
    this.#policy = options.policy;
    this.#resolver = new Resolver(options.lookUp, options.lookUpMs);
  }

  get policy(): NetworkPolicy {
    return this.#policy;
  }

  /** Connections that are dialled or open. */
  get openCount(): number {
    return this.#open.size;
  }

  /** From now on; connections that it refuses are reset. */
  setPolicy(policy: NetworkPolicy): void {
    this.#policy = policy;
    for (const open of [...this.#open]) {
      const judged = judgeAddress(policy, open.target);
      const verdict = judged.allowed ? open.first.judgeAgain(policy) : judged;
      if (verdict !== undefined) open.end("the network policy was changed", verdict);
    }
  }

  /** Resets all connections, as when the machine is stopped; it may go on afterwards. */
  resetAll(why: string): void {
    for (const open of [...this.#open]) open.end(why);
  }

  /** Resets all, and refuses what comes. Resolves when no socket is left. */
  async close(why: string): Promise<void> {
    this.#closed ??= why;
    this.resetAll(why);
    while (this.#open.size > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  /** Answers a guest that asks for a name. Never rejects; takes no longer than LIMITS.networkLookUpMs. */
  async resolve(asked: string, family: "ipv4" | "ipv6"): Promise<NameAnswer> {
    const verdict = judgeName(this.#policy, asked);
    const parsed = parseName(asked);
    if (!verdict.allowed) return this.#refuseName(isProblem(parsed) ? undefined : parsed.name, verdict);
    // Judged as a name just before, so it is one.
    if (isProblem(parsed)) return { failure: "refused" };
    const { name } = parsed;
    if (name === HOST_ALIAS.name) return this.#tell(name, [HOST_ALIAS.address], family);
    const found = await this.#resolver.resolve(name);
    if (found.kind === "not-found") return { failure: "not-found" };
    if (found.kind === "failed") {
      const reason = `the host's resolver did not resolve ${name}: ${found.why}`;
      this.record.add({ kind: "name", decision: "failed", name, reason });
      return { failure: "failed" };
    }
    // The policy may have changed meanwhile.
    const told = found.addresses.map((address) => ({
      address,
      verdict: judgeTold(this.#policy, address, name),
    }));
    const refusal = told.find((one) => !one.verdict.allowed)?.verdict;
    const allowed = told.filter((one) => one.verdict.allowed).map(({ address }) => address);
    if (allowed.length === 0 && refusal?.allowed === false) return this.#refuseName(name, refusal);
    return this.#tell(name, allowed, family);
  }

  /** Serves one connection that a guest wants. Never rejects; resolves when it is over. */
  async connect(wanted: WantedTarget, pipe: IncomingPipe): Promise<void> {
    const address = parseAddress(wanted.address);
    if (address === undefined) throw new TypeError(`an address of ${wanted.address.length} bytes`);
    const target = { address, port: wanted.port, names: this.#names.namesOf(address) };
    const openedBy = OPENED_BY.exec(wanted.openedBy)?.[0];
    const place = {
      ...{ address: address.text, port: target.port },
      ...(target.names[0] === undefined ? {} : { name: target.names[0] }),
      ...(openedBy === undefined ? {} : { openedBy }),
    };
    const verdict = judgeAddress(this.#policy, target);
    if (!verdict.allowed) {
      this.record.add({ kind: "connection", ...place, decision: "refused", ...said(verdict) });
      await pipe.refuse("policy", verdict.reason).catch(() => undefined);
      return;
    }
    const busy = this.#closed ?? (this.#open.size >= LIMITS.networkConnections ? TOO_MANY : undefined);
    if (busy !== undefined) {
      this.record.add({ kind: "connection", ...place, decision: "failed", reason: busy });
      await pipe.refuse("limit", busy).catch(() => undefined);
      return;
    }
    const entry = this.record.add({ kind: "connection", ...place, decision: "open" });
    await this.#serve(target, pipe, entry);
  }

  async #serve(target: Target, pipe: IncomingPipe, entry: NetworkEntry): Promise<void> {
    const first = new FirstBytes(target, this.options.look);
    const gaveUp = new AbortController();
    let ended: { readonly why: string; readonly verdict?: Refusal } | undefined;
    let connection: Connection | undefined;
    const open: Open = {
      target,
      first,
      end: (why, verdict) => {
        ended ??= { why, ...(verdict === undefined ? {} : { verdict }) };
        gaveUp.abort(new Error(why));
        connection?.end({ kind: "ended", ...ended });
      },
    };
    this.#open.add(open);
    const onBroken = (): void => gaveUp.abort(pipe.broken.reason);
    pipe.broken.addEventListener("abort", onBroken, { once: true });
    if (pipe.broken.aborted) onBroken();
    try {
      const socket = await this.#dial(target, gaveUp.signal);
      if (gaveUp.signal.aborted) {
        // Ended in the very moment in which it came about.
        socket.resetAndDestroy();
        gaveUp.signal.throwIfAborted();
      }
      connection = new Connection(pipe, socket, this.#gate(first));
      // From here the connection itself sees a guest that leaves.
      const opening = pipe.open().catch(() => undefined);
      const end = await connection.carry();
      await opening;
      const { bytesUp, bytesDown } = connection;
      const facts = { bytesUp, bytesDown, ...(first.host === undefined ? {} : { name: first.host }) };
      const verdict = end.kind === "ended" ? end.verdict : undefined;
      const what =
        end.kind === "finished"
          ? "finished"
          : end.kind === "reset"
            ? `reset by the ${end.by}: ${end.why}`
            : end.why;
      const decision = verdict === undefined ? ("allowed" as const) : ("refused" as const);
      this.record.finish(entry, {
        ...facts,
        decision,
        end: what,
        ...(verdict === undefined ? {} : said(verdict)),
      });
    } catch (error) {
      await this.#failed(target, pipe, entry, { error, ended });
    } finally {
      pipe.broken.removeEventListener("abort", onBroken);
      this.#open.delete(open);
    }
  }

  #gate(first: FirstBytes): Gate {
    return {
      take: (data) => first.take(data, this.#policy),
      settle: () => first.settle(this.#policy),
      quietMs: () => first.quietMs(this.#policy),
    };
  }

  async #dial(target: Target, gaveUp: AbortSignal): ReturnType<Dial> {
    const late = AbortSignal.timeout(this.options.connectMs ?? LIMITS.networkConnectMs);
    const signal = AbortSignal.any([gaveUp, late]);
    try {
      using _turn = await this.#dials.take(signal);
      return await (this.options.dial ?? dialDirectly)(placeOf(target), signal);
    } catch (error) {
      if (late.aborted && !gaveUp.aborted) throw Object.assign(new Error("no answer"), { code: "ETIMEDOUT" });
      throw error;
    }
  }

  /** It did not come about: the server's doing, the guest's, or this side's. */
  async #failed(
    { address, port }: Target,
    pipe: IncomingPipe,
    entry: NetworkEntry,
    {
      error,
      ended,
    }: { error: unknown; ended: { readonly why: string; readonly verdict?: Refusal } | undefined },
  ): Promise<void> {
    if (ended?.verdict !== undefined) {
      this.record.finish(entry, { decision: "refused", end: ended.why, ...said(ended.verdict) });
      await pipe.refuse("policy", ended.verdict.reason).catch(() => undefined);
      return;
    }
    const { because, why } =
      ended === undefined
        ? failureOf(error, { host: address.text, port })
        : { because: "unreachable" as const, why: ended.why };
    const reason = pipe.broken.aborted ? "the program gave up" : why;
    this.record.finish(entry, { decision: "failed", reason });
    await pipe.refuse(because, reason).catch(() => undefined);
  }

  #refuseName(name: string | undefined, verdict: Refusal): NameAnswer {
    this.record.add({
      kind: "name",
      decision: "refused",
      ...(name === undefined ? {} : { name }),
      ...said(verdict),
    });
    return { failure: "refused" };
  }

  #tell(name: string, addresses: readonly IpAddress[], family: "ipv4" | "ipv6"): NameAnswer {
    this.#names.add(name, addresses);
    const wanted = addresses.filter((address) => address.family === (family === "ipv4" ? 4 : 6));
    return { addresses: wanted.map(({ bytes }) => bytes), ttlSeconds: LIMITS.networkAnswerMs / 1000 };
  }
}

const TOO_MANY = `the machine has ${LIMITS.networkConnections} connections open`;
/** How the agent names control groups; anything else is of the guest's invention. */
const OPENED_BY = /^[\w.:@-]{1,128}$/;

function said({ reason, hint }: Refusal): { readonly reason: string; readonly hint: string } {
  return { reason, hint };
}

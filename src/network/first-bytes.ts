import { LIMITS } from "../protocol/index.js";
import { sameAddress } from "./address.js";
import { hostText, parseNamedHost, type NamedHost } from "./authority.js";
import { readClientHello } from "./client-hello.js";
import type { HostNetwork } from "./host-network.js";
import { readHttpHead, type Destination } from "./http-head.js";
import { judgeAddress, judgeDenied, judgeNameAt, type NetworkPolicy, type Target } from "./policy.js";
import { shown } from "./problem.js";
import { addressAndPort, HOST_ALIAS } from "./reach.js";
import { refused, userFlag, type Refusal } from "./verdict.js";

/** What becomes of a connection after the first bytes of its program. */
export type FirstBytesVerdict =
  /** Hold all of them back, and ask again with more. */
  | { readonly kind: "need-more" }
  /** They may go, and all that follows. */
  | { readonly kind: "pass"; readonly sees: Seen }
  | ({ readonly kind: "refuse" } & Omit<Refusal, "allowed">);

/** What was seen, for the record. */
export interface Seen {
  readonly protocol: "tls" | "http" | "other";
  /** The name or address that the hello or the head says, canonical. */
  readonly host?: string;
  /** There may be another name within the hello, encrypted; browsers send what looks like it to everybody. */
  readonly ech?: boolean;
}

export interface FirstBytesOptions {
  /** The program will send no more. */
  readonly ended?: boolean;
  /** So many of the bytes got "need-more" before. A program that sends them one by one then costs little. */
  readonly judged?: number;
  /** What is the host's own; read from its interfaces where it is not given. */
  readonly host?: HostNetwork;
}

/**
 * May a connection that was allowed go on, given what its program says first? Nothing of it leaves the host before. A
 * server that speaks first is not waited with: its bytes go to the program meanwhile.
 *
 * - A TLS hello or the Host of an HTTP/1 request has to say a name that led to the address. Where no name did, the program
 *   dialled an address that is allowed by itself, and only deny rules are asked.
 * - Without a name (no SNI, HTTP/1.0, HTTP/2 without TLS, or the address in place of a name) the address has to be allowed
 *   by itself: a name that is on an allow list does not open the other sites of its address.
 * - What a proxy is asked for, by CONNECT or with a whole URL, is a destination of its own and judged as one.
 * - What is neither TLS nor HTTP passes: it was judged by its address and the names that led there.
 *
 * This does not see, and SECURITY.md says so: a Host within TLS, or an encrypted hello, that differs from the name outside
 * (domain fronting, where a server serves both); the second request of a connection; TLS that begins later (STARTTLS) or
 * within a tunnel.
 */
export function judgeFirstBytes(
  bytes: Uint8Array,
  target: Target,
  policy: NetworkPolicy,
  options: FirstBytesOptions = {},
): FirstBytesVerdict {
  const { ended = false, judged = 0 } = options;
  const judge = new Judge(target, policy, options.host);
  if (bytes.length === 0) return ended ? pass({ protocol: "other" }) : { kind: "need-more" };
  const hello = readClientHello(bytes);
  switch (hello.kind) {
    case "need-more":
      return ended ? judge.refuse("the TLS hello is not finished") : hello;
    case "bad":
      return judge.refuse(`TLS as no client should speak it: ${hello.reason}`);
    case "hello":
      return judge.hello(hello.sni, hello.ech);
    case "not-tls":
      break;
  }
  if (!ended && isSameHttpAsBefore(bytes, judged)) return { kind: "need-more" };
  const head = readHttpHead(bytes, ended);
  switch (head.kind) {
    case "need-more":
      return head;
    case "not-http":
      return pass({ protocol: "other" });
    case "bad":
      return judge.refuse(`HTTP that servers read in different ways: ${head.reason}`);
    case "http2":
      return judge.nameless("HTTP/2 without TLS does not show its host", { protocol: "http" });
    case "head":
      return head.destination === undefined ? judge.request(head.host) : judge.proxied(head.destination);
  }
}

/** Whether nothing came that could change what an unfinished head is: neither a line's end nor a NUL. */
function isSameHttpAsBefore(bytes: Uint8Array, judged: number): boolean {
  if (judged === 0 || bytes.length >= LIMITS.httpHeadBytes) return false;
  return !bytes.subarray(judged).some((byte) => byte === 0x0a || byte === 0);
}

function pass(sees: Seen): FirstBytesVerdict {
  return { kind: "pass", sees };
}

/** One connection's decision. */
class Judge {
  readonly #target: Target;
  readonly #policy: NetworkPolicy;
  readonly #network: HostNetwork | undefined;

  constructor(target: Target, policy: NetworkPolicy, network: HostNetwork | undefined) {
    this.#target = target;
    this.#policy = policy;
    this.#network = network;
  }

  hello(sni: string | undefined, ech: boolean): FirstBytesVerdict {
    if (sni === undefined) return this.nameless("the TLS hello names no server", { protocol: "tls", ech });
    const host = parseNamedHost(sni);
    if (typeof host === "string") return this.refuse(`the TLS hello names ${host}`);
    return this.#named(host, "the TLS hello", { protocol: "tls", host: hostText(host), ech });
  }

  request(host: NamedHost | undefined): FirstBytesVerdict {
    if (host === undefined) return this.nameless("the request has no Host", { protocol: "http" });
    return this.#named(host, "Host", { protocol: "http", host: hostText(host) });
  }

  /** A request to a proxy, or to a server by its whole URL. */
  proxied({ host, port }: Destination): FirstBytesVerdict {
    const sees: Seen = { protocol: "http", host: hostText(host) };
    const verdict =
      host.kind === "name"
        ? judgeNameAt(this.#policy, host.name, port)
        : judgeAddress(this.#policy, { address: host.address, port, names: [] }, this.#network);
    return verdict.allowed ? pass(sees) : { kind: "refuse", reason: verdict.reason, hint: verdict.hint };
  }

  /** Nothing says which of the address's sites is meant: the address itself has to be allowed. */
  nameless(why: string, sees: Seen): FirstBytesVerdict {
    const verdict = judgeAddress(this.#policy, { ...this.#target, names: [] }, this.#network);
    if (verdict.allowed) return pass(sees);
    return this.refuse(why, userFlag(`--network-allow ${this.#place()}`));
  }

  refuse(why: string, hint = "send TLS with a server name, or HTTP/1.1 with one Host"): FirstBytesVerdict {
    const { names } = this.#target;
    const subject = names[0] === undefined ? this.#place() : `${this.#place()} (${names[0]})`;
    const { reason, ...refusal } = refused(subject, why, hint);
    return { kind: "refuse", reason, hint: refusal.hint };
  }

  #named(host: NamedHost, where: string, sees: Seen): FirstBytesVerdict {
    const { address, port, names } = this.#target;
    if (host.kind === "address") {
      if (sameAddress(host.address, address)) return this.nameless(`${where} names no site`, sees);
      return this.refuse(`${where} says ${host.address.text}, another address`);
    }
    // The host's own services, which the user opened, go by any name: many know themselves as localhost only.
    const isFree = names.length === 0 || sameAddress(address, HOST_ALIAS.address);
    if (!isFree && !names.includes(host.name)) {
      const why = `${where} says ${shown(host.name)}, which did not lead to this address`;
      return this.refuse(why, `connect to ${host.name} by its name`);
    }
    const verdict = judgeDenied(this.#policy, host.name, port);
    return verdict.allowed ? pass(sees) : { kind: "refuse", reason: verdict.reason, hint: verdict.hint };
  }

  #place(): string {
    return addressAndPort(this.#target.address, this.#target.port);
  }
}

import * as z from "zod";
import { LIMITS, PyroError } from "../../protocol/index.js";
import type { PortToPublish } from "../../sdk/index.js";
import { formatTable, visibleName } from "../text.js";

const port = (): z.ZodNumber => z.int().min(1).max(65_535);

/** Ports of a service that the host is to reach: as a tool takes them, and as words of the command line. */
export const publishingFields = {
  published_ports: z
    .array(z.strictObject({ guest_port: port(), host_port: port().optional() }))
    .max(LIMITS.servicePublishedPorts)
    .optional()
    .describe("Ports of it that the host's 127.0.0.1 reaches once it is ready"),
  publish: z
    .array(z.string().max(64))
    .max(LIMITS.servicePublishedPorts)
    .optional()
    .describe(
      "[HOST:]GUEST: 127.0.0.1:HOST of this host leads to this port of it once it is ready, until it ends; without HOST the " +
        "system chooses one. Needs the policy egress+published-ports; repeatable",
    ),
};

/** A port that a service has on the host. */
export const publishedPort = z.object({
  host: z.string(),
  host_port: z.number(),
  guest_port: z.number(),
  protocol: z.literal("tcp"),
  state: z.enum(["open", "reserved", "closed"]),
  reason: z.string().nullable(),
});

type PublishedPortView = z.output<typeof publishedPort>;
type Given = Partial<z.output<z.ZodObject<typeof publishingFields>>>;

/** All that a face was given. @throws {PyroError} INVALID_ARGUMENT */
export function portsToPublish({
  published_ports: ports = [],
  publish = [],
}: Given): readonly PortToPublish[] {
  return [
    ...ports.map(({ guest_port: guestPort, host_port: hostPort }) => ({ guestPort, hostPort })),
    ...publish.map(parsePublish),
  ];
}

/**
 * `GUEST` or `HOST:GUEST`, as numbers of ports.
 * @throws {PyroError} INVALID_ARGUMENT
 */
function parsePublish(text: string): PortToPublish {
  const words = text.split(":");
  const [guest = "", host, ...address] = words.reverse();
  const guestPort = portOf(guest);
  const hostPort = host === undefined ? undefined : portOf(host);
  if (address.length === 0 && guestPort !== undefined && (host === undefined || hostPort !== undefined))
    return { guestPort, hostPort };
  const why = address.length > 0 ? "names an address, and ports listen on 127.0.0.1 only" : "is no port";
  const example = `${hostPort ?? 8080}:${guestPort ?? 3000}`;
  throw new PyroError("INVALID_ARGUMENT", `--publish ${JSON.stringify(text)} ${why}`, {
    hint: `write --publish ${example}, or --publish ${guestPort ?? 3000} and the system chooses one of the host; ports are 1 to 65535, TCP`,
  });
}

function portOf(text: string): number | undefined {
  const number = /^[1-9]\d{0,4}$/.test(text) ? Number(text) : 0;
  return number >= 1 && number <= 65_535 ? number : undefined;
}

/** `127.0.0.1:8080 → 3000`, and what keeps it from being reached. */
export function portLine(view: PublishedPortView, service = ""): string {
  const { host, host_port: hostPort, guest_port: guestPort } = view;
  const to = service === "" ? "" : `${visibleName(service)}:`;
  return `${host}:${hostPort} → ${to}${guestPort}${stateText(view)}`;
}

function stateText({ state, reason }: PublishedPortView): string {
  if (state === "open") return "";
  return state === "reserved" ? " (once it is ready)" : ` (closed: ${visibleName(reason ?? "unknown")})`;
}

/** The rows of one service, for its table. */
export function portRows(ports: readonly PublishedPortView[]): string[][] {
  return ports.map((view, index) => [index === 0 ? "ports" : "", portLine(view)]);
}

/** Those of all services. */
export function portTable(ports: readonly (PublishedPortView & { readonly service_name: string })[]): string {
  return formatTable(ports.map((view) => [portLine(view, view.service_name)]));
}

import * as z from "zod";
import { LIMITS } from "../../protocol/index.js";
import type { NetworkOptions } from "../../sdk/index.js";
import type { OperationContext } from "../operation.js";

const rules = (): z.ZodOptional<z.ZodArray<z.ZodString>> =>
  z.array(z.string().max(LIMITS.networkRuleCharacters)).max(LIMITS.networkRules).optional();

/** What a machine may reach, as its user says it. The daemon reads rules, and tells all that is wrong at once. */
export const networkFields = {
  network_policy: z
    .enum(["off", "egress", "egress+published-ports"])
    .optional()
    .describe("What it may reach: nothing (off, the default), or the public internet"),
  network_allow: rules().describe(
    "Only what such a rule names may be reached: example.org, *.example.org, 192.0.2.0/24, with :443 or :8000-8999 or without; repeatable",
  ),
  network_deny: rules().describe("What such a rule names may not be reached, whatever allows it; repeatable"),
  network_file: z
    .string()
    .min(1)
    .max(4096)
    .optional()
    .describe("File of this host with `allow RULE` or `deny RULE` a line"),
  allow_cidr: rules().describe(
    "Addresses that are not of the public internet and may be reached all the same, such as 10.1.0.0/16; repeatable",
  ),
  allow_host_port: z
    .array(z.string().max(5))
    .max(LIMITS.networkHostPorts)
    .optional()
    .describe("A port on this host's loopback, reached as host.pyro.internal; repeatable"),
};

/** No tool has them: what workspaces of a chat host may reach is said by its user when the server is started. */
export const NETWORK_FIELD_NAMES = Object.keys(networkFields) as (keyof typeof networkFields)[];

type Given = z.output<z.ZodObject<typeof networkFields>>;

/**
 * What a face was given, as the SDK takes it; undefined where nothing was.
 * @throws {PyroError} INVALID_ARGUMENT where the file cannot be read
 */
export async function networkOptions(
  given: Partial<Given>,
  { readHostFile }: Pick<OperationContext, "readHostFile">,
): Promise<NetworkOptions | undefined> {
  const { network_policy: policy, network_allow: allow, network_deny: deny, network_file: path } = given;
  const { allow_cidr: allowCidrs, allow_host_port: allowHostPorts } = given;
  const options = { policy, allow, deny, allowCidrs, allowHostPorts };
  if (path === undefined && Object.values(options).every((value) => value === undefined)) return undefined;
  if (path === undefined) return options;
  const text = Buffer.from(await readHostFile(path)).toString("utf8");
  return { ...options, file: { name: path, text } };
}

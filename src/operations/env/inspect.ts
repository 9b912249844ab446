import * as z from "zod";
import { environmentDetailsRecord, field, snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatBytes, formatTable, visibleName, wrapped } from "../text.js";
import { ago } from "./age.js";

/** Of 80, beside the labels. */
const VALUE_COLUMNS = 66;

type Environment = z.output<typeof environmentDetailsRecord>;

/** `pyro env inspect`. */
export const envInspect = defineOperation({
  name: "env_inspect",
  command: ["env", "inspect"],
  summary: "Show one environment: how it was made, its size, layers, configuration and packages",
  description: "",
  profiles: [],
  kind: "read",
  input: z.strictObject({ environment: field.environment().describe("Its name, from `pyro env list`") }),
  output: environmentDetailsRecord,
  positionals: ["environment"],
  examples: [
    { command: "pyro env inspect debian:12 --json", says: "all that is known, with the packages' versions" },
  ],
  run: async ({ environment }, { pyro, signal }) =>
    environmentDetailsRecord.parse(snakeKeys(await pyro.inspectEnvironment(environment, { signal }))),
  render: (environment) =>
    formatTable([
      ["name", environment.name],
      ...wrapped(environment.description, VALUE_COLUMNS, "")
        .split("\n")
        .map((line, index) => [index === 0 ? "description" : "", line]),
      ["source", environment.source],
      ...(environment.digest === null ? absent(environment) : present(environment)),
    ]),
});

function absent({ name }: Environment): string[][] {
  return [["on this host", `no: run \`pyro env pull ${name}\``]];
}

function present(environment: Environment): string[][] {
  const { digest, installed, size_bytes: bytes, shared_size_bytes: shared, last_used_at: used } = environment;
  const { packages, origin } = environment;
  const layers = origin?.layers ?? [];
  return [
    ["on this host", installed ? "yes" : "damaged"],
    ["made from", madeFrom(environment)],
    ["made", environment.created_at ?? "-"],
    ["last use", used === null ? "-" : `${used} (${ago(used)})`],
    ["size", `${formatBytes(bytes)}${shared > 0 ? `, ${formatBytes(shared)} of it shared` : ""}`],
    ["template", environment.template],
    ["digest", digest ?? "-"],
    ["image", environment.image_path ?? "-"],
    ...(origin === null ? [] : [["manifest", origin.manifest_digest]]),
    ...layers.map((layer, index) => [
      index === 0 ? `layers (${layers.length})` : "",
      `${layer.digest} ${formatBytes(layer.size_bytes)}`,
    ]),
    ...configuration(environment),
    ...(packages.length === 0 ? [] : [["packages", `${packages.length} (--json lists them)`]]),
  ];
}

function madeFrom({ source, origin, saved_from: saved, recipe }: Environment): string {
  if (saved !== null) return `workspace ${saved.workspace_id} of ${saved.environment}`;
  if (origin !== null)
    return source === "archive" ? `the file ${visibleName(origin.reference)}` : origin.reference;
  return source === "curated" ? "the packages of its recipe" : (recipe ?? "-");
}

function configuration({ config }: Environment): string[][] {
  if (config === null) return [];
  const lines: [string, string][] = [
    ["user", config.user],
    ["directory", config.working_dir],
    ["entrypoint", config.entrypoint.length === 0 ? "" : JSON.stringify(config.entrypoint)],
    ["command", config.cmd.length === 0 ? "" : JSON.stringify(config.cmd)],
    ...config.env.map((each, index): [string, string] => [index === 0 ? "variables" : "", each]),
  ];
  // An image says what it likes.
  return lines.filter(([, value]) => value !== "").map(([label, value]) => [label, visibleName(value)]);
}

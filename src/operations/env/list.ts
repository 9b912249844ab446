import * as z from "zod";
import { environmentRecord, snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatBytes, formatTable, wrapped } from "../text.js";
import { ago } from "./age.js";

const output = z.object({ catalog_version: z.string(), environments: z.array(environmentRecord) });

type Environment = z.output<typeof environmentRecord>;

/** `pyro env list`. */
export const envList = defineOperation({
  name: "env_list",
  command: ["env", "list"],
  summary: "List the environments, and which of them are on this host",
  description:
    "SHARED is what of its size other environments have too; LAST USE is how long ago a machine began with it.",
  profiles: [],
  kind: "read",
  input: z.strictObject({}),
  output,
  positionals: [],
  examples: [{ command: "pyro env list", says: "names, sizes, and when each was used" }],
  run: async (_, { pyro, signal }) => output.parse(snakeKeys(await pyro.listEnvironments({ signal }))),
  render: ({ environments }) =>
    [here(environments.filter(isHere)), absent(environments.filter((each) => !isHere(each)))]
      .filter((text) => text !== "")
      .join("\n\n"),
});

/** The image of one that is damaged may be there as well. */
function isHere({ digest }: Environment): boolean {
  return digest !== null;
}

/** A longer name stands in a line of its own: the columns fit 80 characters. */
const NAME_COLUMNS = 18;
const DIGEST_CHARS = 12;
const LINE_COLUMNS = 80;

function here(environments: readonly Environment[]): string {
  if (environments.length === 0) return "no environment is on this host yet: `pyro env pull debian:12`";
  const table = formatTable([
    ["ENVIRONMENT", "SOURCE", "SIZE", "SHARED", "LAST USE", "TEMPLATE", "DIGEST"],
    ...environments.map((environment) => [
      environment.name.length > NAME_COLUMNS ? "" : environment.name,
      environment.source,
      environment.installed ? formatBytes(environment.size_bytes) : "damaged",
      environment.shared_size_bytes === 0 ? "-" : formatBytes(environment.shared_size_bytes),
      ago(environment.last_used_at),
      environment.template,
      environment.digest?.replace("sha256:", "").slice(0, DIGEST_CHARS) ?? "-",
    ]),
  ]).split("\n");
  return table
    .flatMap((line, row) => {
      const name = environments[row - 1]?.name ?? "";
      return name.length > NAME_COLUMNS ? [name, line] : [line];
    })
    .join("\n");
}

function absent(environments: readonly Environment[]): string {
  if (environments.length === 0) return "";
  const described = environments.map(({ name, download_bytes: bytes, description }) => {
    const size = bytes > 0 ? ` (fetches ${formatBytes(bytes)})` : "";
    return `  ${name}${size}\n${wrapped(description, LINE_COLUMNS, "    ")}`;
  });
  return ["not on this host:", ...described].join("\n");
}

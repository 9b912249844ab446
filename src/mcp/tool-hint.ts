import { CURATED_ENVIRONMENTS } from "../operations/index.js";
import type { PyroError } from "../protocol/index.js";

/** What a hint of the command line is as a call of a tool; `$1` is what stood behind the command. */
const CALLS: readonly (readonly [RegExp, (...words: string[]) => string])[] = [
  [/`pyro workspace list`/g, () => "workspace_list()"],
  [/`pyro workspace create [^`]*`/g, () => "workspace_create()"],
  [/`pyro workspace status`/g, () => "workspace_status"],
  [/`pyro workspace sync push`/g, () => "workspace_sync_push"],
  [/`pyro workspace (reset|delete|diff|logs) (\S+)`/g, (verb = "", id) => `workspace_${verb}(${named(id)})`],
  [
    /`pyro workspace service (logs|status|stop) (\S+) (\S+)`/g,
    (verb = "", id = "", name = "") => `service_${verb}(${named(id)}, service_name=${JSON.stringify(name)})`,
  ],
  [
    /`pyro workspace file list (\S+) ([^`]*)`/g,
    (id, path) => `workspace_file_list(${named(id)}, path=${JSON.stringify(path)})`,
  ],
  [
    /(?:start it with )?`pyro workspace start (\S+)`/g,
    (id = "ID") =>
      `its user stopped it: ask them to run \`pyro workspace start ${id}\`, or work in another one: workspace_create()`,
  ],
  [/, or replace it with --overwrite/g, () => ": a tool replaces nothing on the host"],
  [
    /`pyro workspace snapshot delete (\S+) (\S+)`/g,
    (id, name) => `snapshot_delete(${named(id)}, snapshot_name=${JSON.stringify(name)})`,
  ],
  [/such as (\d+):\d+, or \d+ alone/g, (port = "") => `such as host_port=${port}, or none`],
  [/`pyro workspace shell open (\S+)`/g, (id) => `shell_open(${named(id)})`],
  [/`--seed-path ([^`]*)`/g, (path) => `seed_path=${JSON.stringify(path)}`],
  [/(`)?--(project-path|repo-url|seed-include)( [^`;,]*)?(`)?/g, (_, flag, value) => serverFlag(flag, value)],
  [/`pyro env list` shows them/g, () => environments()],
  [/\(`pyro env list`\)/g, () => `(${environments()})`],
  [/give the call a larger timeoutMs.*$/g, () => "see how far it is with workspace_status, then call again"],
];

/**
 * The hint of an error in words that a model can act on: calls of tools instead of commands; what only the user can do
 * is said to be theirs.
 */
export function toolHint({ hint }: Pick<PyroError, "hint">, args?: unknown): string {
  let text = hint;
  for (const [pattern, call] of CALLS)
    text = text.replace(pattern, (_, ...words: (string | number | undefined)[]) =>
      call(...words.map((word) => (typeof word === "string" ? word : ""))),
    );
  const given = typeof args === "object" && args !== null ? (args as { workspace_id?: unknown }) : {};
  if (typeof given.workspace_id === "string")
    text = text.replaceAll('workspace_id="ID"', named(given.workspace_id));
  return /`pyro /.test(text) && !/user/.test(text) ? `${text} (a command for the user's terminal)` : text;
}

function named(id = "ID"): string {
  return `workspace_id=${JSON.stringify(id)}`;
}

function serverFlag(flag = "", value = ""): string {
  return `--${flag}${value} of the user's \`pyro mcp serve\``;
}

function environments(): string {
  return `there are ${CURATED_ENVIRONMENTS.map(({ name }) => name).join(", ")}`;
}

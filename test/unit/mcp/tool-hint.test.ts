import { expect, test } from "vitest";
import { toolHint } from "../../../src/mcp/tool-hint.js";
import { PyroError } from "../../../src/protocol/index.js";

test.each([
  ["`pyro workspace list` shows those that there are", "workspace_list() shows those that there are"],
  [
    "there are none; `pyro workspace create debian:12` makes one",
    "there are none; workspace_create() makes one",
  ],
  [
    "`pyro workspace reset ws-1` undoes all changes",
    'workspace_reset(workspace_id="ws-1") undoes all changes',
  ],
  [
    "`pyro workspace file list ID src/a b` shows what there is",
    'workspace_file_list(workspace_id="fix", path="src/a b") shows what there is',
  ],
  [
    "start it with `pyro workspace start ws-1`",
    "its user stopped it: ask them to run `pyro workspace start ws-1`, or work in another one: workspace_create()",
  ],
  [
    "delete it: `pyro workspace snapshot delete ws-1 installed`",
    'delete it: snapshot_delete(workspace_id="ws-1", snapshot_name="installed")',
  ],
  ["make the file with `pyro workspace sync push`, or so", "make the file with workspace_sync_push, or so"],
  [
    "name another path, or replace it with --overwrite",
    "name another path: a tool replaces nothing on the host",
  ],
  ["seed the plain directory: `--seed-path /a b`", 'seed the plain directory: seed_path="/a b"'],
  ["name one: `--project-path DIR`", "name one: --project-path DIR of the user's `pyro mcp serve`"],
  [
    "for example `--seed-include node_modules`",
    "for example --seed-include node_modules of the user's `pyro mcp serve`",
  ],
  ["`pyro env list` shows them", "there are debian:12, debian:12-base, debian:12-build"],
  [
    "`pyro doctor` examines this host",
    "`pyro doctor` examines this host (a command for the user's terminal)",
  ],
  [
    "give the call a larger timeoutMs, or see `pyro daemon status` for what the daemon does",
    "see how far it is with workspace_status, then call again",
  ],
  ["give the whole id, or more of it", "give the whole id, or more of it"],
])("the hint %j is %j for a model", (hint, expected) => {
  expect(toolHint(new PyroError("INTERNAL", "x", { hint }), { workspace_id: "fix" })).toBe(expected);
});

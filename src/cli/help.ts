import { CURATED_ENVIRONMENTS, COMMAND_GROUPS, formatTable, type Declaration } from "../operations/index.js";

/** `pyro --help`: what to type first, and in which order. */
export function rootHelp(): string {
  const commands = formatTable(COMMAND_GROUPS.map(({ word, summary }) => [`  ${word}`, summary]));
  return `pyro: disposable virtual machines for coding agents. Every command runs in a real VM, never on this host.

Start here:
  pyro doctor                                   does this host run VMs, and how
  pyro env list                                 what a VM can be
  pyro env pull debian:12                       make it ready once
  pyro run debian:12 -- git --version           one command in one fresh VM
  pyro mcp serve                                workspaces for a chat host

Connect a chat host (claude-code, codex, opencode):
  pyro host connect claude-code                 writes its entry; \`pyro host doctor\` checks it
  or by hand:
  claude mcp add pyro -- pyro mcp serve
  codex mcp add pyro -- pyro mcp serve
  OpenCode: {"mcp":{"pyro":{"type":"local","enabled":true,"command":["pyro","mcp","serve"]}}}
  any other: {"mcpServers":{"pyro":{"command":"pyro","args":["mcp","serve"]}}}

Commands (each has --help):
${commands}

Options:
  --state-dir DIR  keep everything under DIR instead of the user's own place
  --json           print one JSON document on standard output (every command)
  --version        print the version
  --help           print this

Environments: ${CURATED_ENVIRONMENTS.map(({ name }) => name).join(", ")}
`;
}

/** The examples below a command's help. */
export function examplesOf(declarations: readonly Declaration[]): string {
  const examples = declarations.flatMap(({ examples }) => examples);
  return `\nExamples:\n${examples.map(({ command, says }) => `  ${command}\n      ${says}`).join("\n")}\n`;
}

import { Command } from "commander";
import { addInput } from "../../src/cli/options.js";
import { COMMAND_GROUPS, isOperation, type Declaration } from "../../src/operations/index.js";
import { resultFields } from "./fields.js";
import { code, GENERATED, plain, table } from "./markdown.js";

/** The reference of the command line: every command with its words, options, examples and the fields of its result. */
export async function cliPage(): Promise<string> {
  const groups = await Promise.all(
    COMMAND_GROUPS.map(async ({ word, summary, load }) => {
      const declarations = await load();
      if (declarations.every(({ command }) => command.length === 1))
        return declarations.map((declaration) => commandSection(declaration, "##")).join("\n");
      const sections = declarations.map((declaration) => commandSection(declaration, "###"));
      return [`## pyro ${word}\n`, `${plain(summary)}.\n`, ...sections].join("\n");
    }),
  );
  return [GENERATED, "# Command line\n", INTRODUCTION, ...groups].join("\n");
}

const INTRODUCTION = `Every command has these options:

${table(
  ["option", "what it does"],
  [
    [code("--state-dir <dir>"), "keep everything under this directory"],
    [
      code("--json"),
      'print one JSON document on standard output; of a failure `{"error": {code, message, hint, details, retryable}}`',
    ],
    [code("--help"), "print what the command takes"],
  ],
)}
Results go to standard output, everything else to standard error. What fails is said as \`CODE: message\` with a \`hint:\` below; [troubleshooting](../troubleshooting.md) has a page for each code.

| exit status | means |
|---|---|
| the command's own | \`run\` and \`workspace exec\`: what the guest's command ended with; 128 + N where signal N ended it |
| 0 | done |
| 1 | failed (all other commands) |
| 2 | wrong usage (all other commands) |
| 124 | \`run\`, \`workspace exec\`: killed at its time limit |
| 125 | \`run\`, \`workspace exec\`: pyro itself failed, and the command did not run or its end is not known |
| 126, 127 | the guest's command cannot be executed, or does not exist |
| 130 | Ctrl-C |
`;

function commandSection(declaration: Declaration, mark: string): string {
  const { command: words, summary, description, examples } = declaration;
  const command = new Command(words.join(" "));
  addInput(command, declaration);
  const args = command.registeredArguments.map((argument) => [
    code(argument.name()),
    plain(argument.description),
  ]);
  const options = command.options.map(({ flags, description: says }) => [code(flags), plain(says)]);
  const result = isOperation(declaration) ? resultFields(declaration.output) : [];
  return [
    `${mark} pyro ${words.join(" ")}\n`,
    `${plain(summary)}.${description === "" ? "" : `\n\n${plain(description)}`}\n`,
    "```text\n" + `pyro ${words.join(" ")} ${command.usage()}` + "\n```\n",
    table(["word", "what it is"], args),
    table(["option", "what it does"], options),
    "```sh\n" + examples.map((example) => `${example.command}    # ${example.says}`).join("\n") + "\n```\n",
    result.length === 0
      ? ""
      : `\`--json\` prints: ${result.map(({ name, type }) => `${code(name)} (${plain(type)})`).join(", ")}.\n`,
  ]
    .filter((part) => part !== "")
    .join("\n");
}

import { Command, CommanderError } from "commander";
import { thisBuild } from "../kit/index.js";
import { COMMAND_GROUPS, hostCompat, type Declaration } from "../operations/index.js";
import { act } from "./act.js";
import type { CommandContext } from "./context.js";
import { reportFailure, UsageError, type Statuses } from "./failure.js";
import { examplesOf, rootHelp } from "./help.js";
import type { CliHost } from "./host.js";
import { addInput, givenInput, withRecords } from "./options.js";
import { Output } from "./output.js";
import { proven } from "./proven.js";

/** Runs one command line and gives its exit status. Never throws; the caller ends the process. */
export async function runCli(host: CliHost): Promise<number> {
  const stdout = new Output(host.stdout);
  const stderr = new Output(host.stderr);
  const own = beforeSeparator(host.argv);
  const word = firstWord(own);
  loadAhead(own, word);
  const statuses: Statuses = runsGuestCommand(own, word) ? "command" : "plain";
  const json = own.includes("--json");
  try {
    const idOnly = own.includes("--id-only");
    if (json && idOnly) throw new UsageError("--json and --id-only exclude each other", "give one of them");
    let status = 0;
    const context = { host, stdout, stderr, json, idOnly };
    const text = await interpret(host.argv, word, statuses, {
      act: async (declaration, input, command) => {
        status = await act(declaration, input, contextOf(context, command));
      },
      serveAsDaemon: (command) =>
        host.runDaemon({ stateDir: contextOf(context, command).pyroOptions.stateDir }),
    });
    for (const part of text) await stdout.write(part);
    return status;
  } catch (error) {
    return await reportFailure(error, { stdout, stderr }, { json, statuses });
  }
}

/** What a command line asks for, proven and not done; undefined where it asks for help or the version. */
export interface CommandLine {
  readonly declaration: Declaration;
  readonly input: Readonly<Record<string, unknown>>;
}

/**
 * Reads a command line as `runCli` does, and does nothing: for commands that are written down somewhere.
 * @throws {PyroError} as the command itself would for wrong usage
 */
export async function readCommandLine(argv: readonly string[]): Promise<CommandLine | undefined> {
  const own = beforeSeparator(argv);
  const word = firstWord(own);
  let read: CommandLine | undefined;
  await interpret(argv, word, runsGuestCommand(own, word) ? "command" : "plain", {
    act: async (declaration, input) => {
      const given = Object.entries(input).filter(
        ([, value]) => !(Array.isArray(value) && value.length === 0),
      );
      read = { declaration, input: proven(declaration, withRecords(declaration, Object.fromEntries(given))) };
    },
    serveAsDaemon: () => Promise.resolve(),
  });
  return read;
}

/** What is done with a command line that was understood. */
interface Doing {
  readonly act: (declaration: Declaration, input: Record<string, unknown>, command: Command) => Promise<void>;
  readonly serveAsDaemon: (command: Command) => Promise<void>;
}

interface Invocation extends Doing {
  /** Help and version, as commander writes them. */
  readonly text: string[];
}

/** Understands a command line and does it; gives what there is of help and version. */
async function interpret(
  argv: readonly string[],
  word: string | undefined,
  statuses: Statuses,
  doing: Doing,
): Promise<readonly string[]> {
  const invocation: Invocation = { ...doing, text: [] };
  const program = await buildProgram(invocation, word);
  try {
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    throwUsage(error, word, statuses);
  }
  return invocation.text;
}

/** The client, while the operations are loaded: what asks the daemon needs it next. Help and version do without. */
function loadAhead(own: readonly string[], word: string | undefined): void {
  if (word === undefined || own.includes("--help")) return;
  // Whoever needs it meets the error.
  import("../sdk/index.js").catch(() => undefined);
}

/** Whether the exit status belongs to a command of the guest. */
function runsGuestCommand(argv: readonly string[], word: string | undefined): boolean {
  return word === "run" || (word === "workspace" && argv[argv.indexOf(word) + 1] === "exec");
}

function beforeSeparator(argv: readonly string[]): readonly string[] {
  const at = argv.indexOf("--");
  return at < 0 ? argv : argv.slice(0, at);
}

/** The command's first word: what is no option, and no option's value. */
function firstWord(argv: readonly string[]): string | undefined {
  return argv.find((word, index) => !word.startsWith("-") && argv[index - 1] !== "--state-dir");
}

async function buildProgram(invocation: Invocation, word: string | undefined): Promise<Command> {
  const program = prepare(new Command("pyro"), invocation);
  program.version(thisBuild().version, "--version", "print the version");
  program.helpInformation = rootHelp;
  program.enablePositionalOptions();
  program.action(() => void invocation.text.push(rootHelp()));
  for (const group of COMMAND_GROUPS) {
    if (group.word === word) addGroup(program, invocation, group.summary, await group.load());
    else prepare(program.command(group.word), invocation).summary(group.summary);
  }
  if (word !== undefined && !COMMAND_GROUPS.some((group) => group.word === word)) {
    throw unknownCommand(
      word,
      COMMAND_GROUPS.map((group) => group.word),
      "pyro",
    );
  }
  return program;
}

/** Settings that every command of the tree has. */
function prepare(command: Command, invocation: Invocation): Command {
  return command
    .exitOverride()
    .configureOutput({ writeOut: (text) => void invocation.text.push(text), writeErr: () => undefined })
    .helpOption("--help", "print this")
    .helpCommand(false)
    .option("--state-dir <dir>", "keep everything under this directory")
    .option("--json", "print one JSON document on standard output");
}

function addGroup(
  program: Command,
  invocation: Invocation,
  summary: string,
  declarations: readonly Declaration[],
): void {
  const own = declarations.find(({ command }) => command.length === 1);
  if (own !== undefined) {
    // A command of its own, which may have others below it: `pyro demo` and `pyro demo ollama`.
    const command = addCommand(program, invocation, own).enablePositionalOptions();
    for (const other of declarations) if (other !== own) addCommand(command, invocation, other);
    return;
  }
  const word = declarations[0]?.command[0] ?? "";
  const group = prepare(program.command(word), invocation).description(summary);
  group.addHelpText("after", examplesOf(declarations));
  for (const declaration of declarations)
    addCommand(parentOf(group, invocation, declaration, declarations), invocation, declaration);
  if (word === "daemon") addDaemonRun(group, invocation);
  const known = [...new Set(declarations.map(({ command }) => command[1] ?? ""))];
  group.usage("COMMAND [options]").argument("[words...]").enablePositionalOptions().passThroughOptions();
  group.action(([given]: readonly string[]) => {
    if (given !== undefined) throw unknownCommand(given, known, `pyro ${word}`);
    throw new UsageError(`pyro ${word} needs one of: ${known.join(", ")}`, `run \`pyro ${word} --help\``);
  });
}

/** Where a command of three words hangs: `workspace file read` below `workspace file`. */
function parentOf(
  group: Command,
  invocation: Invocation,
  { command: words, summary }: Declaration,
  declarations: readonly Declaration[],
): Command {
  const [, middle, last] = words;
  if (middle === undefined || last === undefined) return group;
  const found = group.commands.find((command) => command.name() === middle);
  if (found !== undefined) return found;
  const siblings = declarations.filter(({ command }) => command[1] === middle);
  const names = siblings.map(({ command }) => command[2] ?? "").join(", ");
  return prepare(group.command(middle), invocation).summary(siblings.length === 1 ? summary : names);
}

/** Names the commands that there are, and the one that was probably meant. */
function unknownCommand(given: string, known: readonly string[], parent: string): UsageError {
  const meant = known.find((name) => name.startsWith(given.slice(0, 2)) || name.includes(given));
  const hint = `${meant === undefined ? "" : `did you mean \`${parent} ${meant}\`? `}there are: ${known.join(", ")}`;
  return new UsageError(`unknown command ${JSON.stringify(given)}`, hint);
}

function addCommand(parent: Command, invocation: Invocation, declaration: Declaration): Command {
  const word = declaration.command.at(-1) ?? "";
  // `workspace network ID` shows it.
  const command = prepare(parent.command(word, { isDefault: word === "show" }), invocation);
  const { summary, description } = declaration;
  command.summary(summary).description(description === "" ? `${summary}.` : `${summary}.\n\n${description}`);
  addInput(command, declaration);
  command.addHelpText("after", examplesOf([declaration]));
  command.action(async (...args: unknown[]) => {
    const positionals = args.slice(0, declaration.positionals.length);
    const input = givenInput(declaration, positionals, command.opts());
    await invocation.act(declaration, input, command);
  });
  return command;
}

/** The daemon's own entry; started by clients, never typed. */
function addDaemonRun(group: Command, invocation: Invocation): void {
  const command = prepare(group.command("run", { hidden: true }), invocation);
  command.action(() => invocation.serveAsDaemon(command));
}

function contextOf(context: Omit<CommandContext, "pyroOptions">, command: Command): CommandContext {
  const { stateDir } = command.optsWithGlobals<{ stateDir?: string }>();
  if (stateDir === "")
    throw new UsageError("--state-dir is empty", "name a directory, for example --state-dir ~/pyro-state");
  const { stderr, host } = context;
  const onWarning = (message: string): void => void stderr.say(`pyro: ${message}`);
  return { ...context, pyroOptions: { stateDir, onWarning, daemonProgram: host.daemonProgram } };
}

/** What commander has to say: help and version are no failures. */
function throwUsage(error: CommanderError, word: string | undefined, statuses: Statuses): void {
  if (error.exitCode === 0) return;
  if (error.message.includes("--allow-host-compat")) throw hostCompat();
  const message = error.message.replace(/^error: /, "").replace(/\n.*/s, "");
  const help = `run \`pyro ${word === undefined ? "" : `${word} `}--help\``;
  const suggestion = /Did you mean ([^?]+)\?/.exec(error.message)?.[1];
  // The first word, the environment or the workspace, stands before the separator.
  const separator = statuses === "command" && !/'(environment|workspace_id)'/.test(error.message);
  const example =
    word === "run" ? "pyro run debian:12 -- git --version" : "pyro workspace exec ID -- git status";
  const hint = separator ? `put the guest's command after --, for example \`${example}\`` : help;
  throw new UsageError(message, suggestion === undefined ? hint : `did you mean ${suggestion}? ${hint}`);
}

import { isAbsolute } from "node:path";
import { isDeepStrictEqual } from "node:util";
import {
  findPyro,
  launcherOf,
  NPX_START,
  shownLine,
  type Entry,
  type HostWorld,
  type StartCommand,
} from "../../chat-hosts/index.js";
import { exists, findCheckout, findProgram, isExecutable, searchPath } from "../../kit/index.js";
import { contradiction } from "./entry-options.js";
import { readServeCommand, type ServeCommand, type ServeOptions } from "./serve-words.js";

/** An entry as it is compared with what `pyro host connect` would write. */
export interface Judgement {
  /** What the entry says, taken apart; undefined where it does not serve pyro's tools. */
  readonly serve: ServeCommand | undefined;
  /** How pyro is started, where that works. */
  readonly start: StartCommand | undefined;
  /** The options that are valid and go together. */
  readonly options: ServeOptions;
  /** What has to be mended, in words; empty for an entry as it should be. */
  readonly problems: readonly string[];
}

/** Judges an entry without starting anything. */
export async function judgeEntry(world: HostWorld, found: Entry): Promise<Judgement> {
  const { start: entry, enabled, scope } = found;
  const off = enabled ? [] : ["it is switched off"];
  if (entry.kind === "malformed")
    return { serve: undefined, start: undefined, options: {}, problems: [`it is malformed: ${entry.says}`] };
  if (entry.kind === "remote")
    return {
      serve: undefined,
      start: undefined,
      options: {},
      problems: [`it names a server elsewhere: ${shownLine([entry.url])}`],
    };
  const serve = readServeCommand(entry.command);
  const missing =
    (await missingProgram(world, entry.command)) ??
    (scope === "project" ? await strangeProgram(world, serve) : undefined);
  if (serve === undefined)
    return { serve, start: undefined, options: {}, problems: [...(missing ?? []), ...off] };
  const { options, problems } = fitting(serve.options);
  return {
    serve,
    start: missing === undefined ? serve.start : undefined,
    options,
    problems: [...(missing ?? []), ...serve.problems, ...problems, ...off],
  };
}

/** A project's own file may name any program, and nothing of it is started but this pyro. */
async function strangeProgram(
  world: HostWorld,
  serve: ServeCommand | undefined,
): Promise<string[] | undefined> {
  const known = [["pyro"], NPX_START, await launcherOf(world)];
  if (serve !== undefined && known.some((start) => isDeepStrictEqual(start, serve.start))) return undefined;
  return ["it is in a file of the project and does not start the pyro that you run, so it was not tried"];
}

/** What of a command is not there. */
async function missingProgram(world: HostWorld, command: StartCommand): Promise<string[] | undefined> {
  const [program, script] = command;
  if (program === "pyro")
    return (await findPyro(world.env)) === undefined ? ["`pyro` is not on PATH"] : undefined;
  if (!program.includes("/"))
    return (await findProgram(program, searchPath(world.env["PATH"]))) === undefined
      ? [`\`${program}\` is not on PATH`]
      : undefined;
  if (!(await isExecutable(program))) return [`${program} is not there, or cannot be started`];
  const isScript = script !== undefined && isAbsolute(script) && /\/node(js)?$/.test(program);
  return isScript && !(await exists(script)) ? [`${script} is not there`] : undefined;
}

/** Valid options that go together, and whose project is there. */
function fitting(given: ServeOptions): { options: ServeOptions; problems: string[] } {
  const problems: string[] = [];
  let options = given;
  const { project_path: path } = given;
  if (path !== undefined && isAbsolute(path) && findCheckout(path) === undefined) {
    problems.push(`--project-path ${path} is in no Git checkout any more`);
    options = omit(options, "project_path");
  }
  // Each round takes one away; there are no more than there are options.
  for (let found = contradiction(options); found !== undefined; found = contradiction(options)) {
    const dropped = found.field === "mode" ? "profile" : found.field;
    problems.push(`--${found.field.replaceAll("_", "-")} ${found.says}`);
    options = omit(options, dropped);
  }
  return { options, problems };
}

function omit(options: ServeOptions, field: string): ServeOptions {
  return Object.fromEntries(Object.entries(options).filter(([name]) => name !== field));
}

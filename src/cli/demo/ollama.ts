import { createTools } from "../../mcp/index.js";
import {
  DEMO_PROMPT,
  demoOllama,
  demoOllamaText,
  type DemoOllamaRecord,
} from "../../operations/host/demo-ollama.js";
import { pullProgress } from "../../operations/env/progress.js";
import { visible } from "../../operations/index.js";
import { PyroError } from "../../protocol/index.js";
import { Pyro } from "../../sdk/index.js";
import type { CommandContext } from "../context.js";
import { reportFailure } from "../failure.js";
import { interrupts } from "../interrupts.js";
import { progressOn, type Progress } from "../progress.js";
import { converse, ranCommand, type Conversed, type ConversationEvent } from "./conversation.js";
import { ChatEndpoint } from "./endpoint.js";

const CANCEL_MS = 5_000;

type Given = (typeof demoOllama)["input"]["_output"];

/**
 * `pyro demo ollama`: a model calls the tools. Whatever ends it, no run and no connection of it stays; where it is killed, the
 * daemon ends the run at its time.
 */
export async function demoOllamaCommand(
  input: Record<string, unknown>,
  context: CommandContext,
): Promise<number> {
  const { stdout, stderr, json, host } = context;
  using interrupt = interrupts(host);
  const progress = progressOn(host.stderr);
  try {
    const record = await demonstrate(demoOllama.input.parse(input), {
      context,
      progress,
      signal: interrupt.signal,
    });
    progress.clear();
    await stdout.write(`${json ? JSON.stringify(record, null, 2) : demoOllamaText(record)}\n`);
    return 0;
  } catch (error) {
    progress.clear();
    const status = await reportFailure(error, { stdout, stderr }, { json, statuses: "plain" });
    return interrupt.status() ?? status;
  }
}

interface Stage {
  readonly context: CommandContext;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

async function demonstrate(given: Given, { context, progress, signal }: Stage): Promise<DemoOllamaRecord> {
  const { environment } = given;
  const started = performance.now();
  const endpoint = new ChatEndpoint({
    ...{ baseUrl: given.base_url, apiKey: keyOf(given.api_key_env) },
    ...{ timeoutMs: given.timeout_seconds * 1000, signal },
  });
  // The endpoint first: an environment may take a minute.
  const model = await endpoint.model(given.model);
  await using pyro = new Pyro(context.pyroOptions);
  const pulled = await pullMissing(pyro, environment, { progress, signal });
  await using tools = await createTools({
    ...context.pyroOptions,
    ...{ profile: "vm-run", environment, noProjectSource: true },
    network: given.network ? { policy: "egress" } : undefined,
  });
  const unended = new Set<string>();
  const telling: Telling = {
    ...{ progress, verbose: given.verbose },
    write: (text) => void context.host.stderr.write(`${text}\n`),
  };
  const onEvent = (event: ConversationEvent): void => {
    if (event.kind === "answered") note(event.answer.fields, unended);
    tell(event, telling);
  };
  try {
    const done = await converse({ endpoint, model, prompt: DEMO_PROMPT, tools, signal, onEvent });
    const facts = { baseUrl: endpoint.url, model, environment, pulled };
    return toRecord(facts, done, performance.now() - started);
  } finally {
    // Runs that the model began and did not wait for.
    await Promise.all(
      [...unended].map((id) => pyro.cancelRun(id, { timeoutMs: CANCEL_MS }).catch(() => undefined)),
    );
  }
}

/** @throws {PyroError} INVALID_ARGUMENT: a key is never on the command line, where all see it */
function keyOf(name: string | undefined): string | undefined {
  if (name === undefined) return undefined;
  const key = process.env[name]?.trim();
  if (key !== undefined && /^[\x21-\x7e]+$/.test(key)) return key;
  const what = key === undefined || key === "" ? "is not set" : "holds no key: it has blanks or no ASCII";
  throw new PyroError("INVALID_ARGUMENT", `the variable ${name} ${what}`, {
    hint: `export ${name} with the endpoint's key, or leave --api-key-env out`,
  });
}

/** Whether the environment had to be made. */
async function pullMissing(
  pyro: Pyro,
  name: string,
  { progress, signal }: Pick<Stage, "progress" | "signal">,
): Promise<boolean> {
  const { environments } = await pyro.listEnvironments({ signal });
  if (environments.some((one) => one.name === name && one.installed)) return false;
  await pyro.pullEnvironment(
    name,
    {
      onProgress: (pulling) => {
        const { message, fraction } = pullProgress(pulling);
        progress.show(message, fraction);
      },
    },
    { signal },
  );
  progress.clear();
  return true;
}

/** Remembers which runs still go on. */
function note(fields: Readonly<Record<string, unknown>>, unended: Set<string>): void {
  const { run_id: id, state } = fields;
  if (typeof id !== "string") return;
  if (state === "done") unended.delete(id);
  else unended.add(id);
}

function tell(event: ConversationEvent, { progress, verbose, write }: Telling): void {
  const line = (mark: string, text: string): void => {
    progress.clear();
    write(visible(text.trimEnd().replace(/^/gm, `${mark} `)));
  };
  switch (event.kind) {
    case "waiting":
      progress.show(`waiting for the model (round ${event.round})`, null);
      return;
    case "progress":
      progress.show(event.message, null);
      return;
    case "said":
      if (verbose) line("model:", event.text);
      return;
    case "calls":
      if (verbose) line("calls:", `${event.call.name} ${event.call.arguments}`);
      else progress.show(`the model calls ${visible(event.call.name).slice(0, 64)}`, null);
      return;
    case "answered":
      if (verbose) line("tool: ", event.answer.text);
  }
}

interface Telling {
  readonly progress: Progress;
  readonly verbose: boolean;
  readonly write: (text: string) => void;
}

interface Facts {
  readonly baseUrl: string;
  readonly model: string;
  readonly environment: string;
  readonly pulled: boolean;
}

function toRecord(facts: Facts, done: Conversed, totalMs: number): DemoOllamaRecord {
  const { guest_kernel: kernel = "", isolation } = done.calls.find(ranCommand)?.answer.fields ?? {};
  return {
    base_url: facts.baseUrl,
    ...{ model: facts.model, environment: facts.environment, pulled: facts.pulled },
    prompt: DEMO_PROMPT,
    rounds: done.rounds,
    calls: done.calls.map(({ asked, answer, durationMs }) => {
      const { exit_code: code } = answer.fields;
      return {
        ...{ tool: asked.name, arguments: asked.arguments, is_error: answer.isError },
        exit_code: typeof code === "number" ? code : null,
        duration_ms: Math.round(durationMs),
      };
    }),
    answer: done.answer,
    answer_names_kernel: kernel !== "" && done.answer.includes(String(kernel)),
    isolation: isolation === "kvm" ? "kvm" : "software",
    guest_kernel: String(kernel),
    model_ms: Math.round(done.modelMs),
    tools_ms: Math.round(done.calls.reduce((sum, { durationMs }) => sum + durationMs, 0)),
    total_ms: Math.round(totalMs),
  };
}

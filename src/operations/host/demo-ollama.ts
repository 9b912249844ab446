import * as z from "zod";
import { DEFAULT_ENVIRONMENT } from "../curated.js";
import { field } from "../fields.js";
import { declare } from "../operation.js";
import { formatDuration, formatTable, visible } from "../text.js";

/** What the model is asked. The command prints what nobody knows but the machine. */
export const DEMO_PROMPT =
  "Run the shell command `uname -r && git --version` in a virtual machine with the tool vm_run. Then tell me in one " +
  "sentence which kernel and which version of git that machine has.";

/** `pyro demo ollama`: the command line has the conversation. */
export const demoOllama = declare({
  name: "demo_ollama",
  command: ["demo", "ollama"],
  summary: "Let a local model call the tools, and show what it did",
  description:
    "Asks a model of any OpenAI-compatible endpoint to run a command in a VM by the tool vm_run, for at most 12 rounds. " +
    "Nothing leaves this host but what goes to that endpoint. Exit status 0 where the model ran a command in a VM and " +
    "answered; a model that calls no tool fails with MODEL_WITHOUT_TOOLS.",
  profiles: [],
  kind: "write",
  input: z.strictObject({
    base_url: z
      .string()
      .max(2048)
      .default("http://localhost:11434/v1")
      .describe("The endpoint, up to and with /v1 where it has one"),
    model: z
      .string()
      .min(1)
      .max(255)
      .optional()
      .describe("The model (default: the first that the endpoint lists)"),
    api_key_env: z
      .string()
      .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "takes the name of a variable")
      .max(255)
      .optional()
      .describe("Variable of the environment that holds the endpoint's key, if it wants one"),
    environment: field.environment().default(DEFAULT_ENVIRONMENT).describe("What the VM runs"),
    network: z.boolean().default(false).describe("Let the VM reach the public internet"),
    timeout_seconds: z
      .int()
      .min(1)
      // Node's fetch gives up by itself then.
      .max(300)
      .default(300)
      .describe("How long one answer of the model may take"),
    verbose: z
      .boolean()
      .default(false)
      .describe("Show what the model says and calls, and what it is answered"),
  }),
  positionals: [],
  letters: { verbose: "v" },
  examples: [
    { command: "pyro demo ollama -v", says: "with Ollama on this host, and the first model that it has" },
    { command: "pyro demo ollama --model qwen3:4b", says: "with this model" },
    {
      command: "pyro demo ollama --base-url http://localhost:8080/v1 --api-key-env MY_KEY",
      says: "any other server: llama.cpp, vLLM, LM Studio",
    },
  ],
});

/** What the demo comes to; the same keys on each run. */
export interface DemoOllamaRecord {
  readonly base_url: string;
  readonly model: string;
  readonly environment: string;
  readonly pulled: boolean;
  readonly prompt: string;
  readonly rounds: number;
  readonly calls: readonly {
    readonly tool: string;
    /** As the model wrote them. */
    readonly arguments: string;
    readonly is_error: boolean;
    /** Null where no command came to its end. */
    readonly exit_code: number | null;
    readonly duration_ms: number;
  }[];
  readonly answer: string;
  /** Whether the answer repeats the kernel that the machine has. */
  readonly answer_names_kernel: boolean;
  readonly isolation: "kvm" | "software";
  readonly guest_kernel: string;
  readonly model_ms: number;
  readonly tools_ms: number;
  readonly total_ms: number;
}

/** The record for people. */
export function demoOllamaText(record: DemoOllamaRecord): string {
  const { model, base_url: url, calls, rounds } = record;
  const doubt = "it does not name the guest's kernel: a larger model reads its tools' answers better";
  return formatTable([
    ["model", `${model} at ${url}`],
    ["asked", record.prompt],
    ...calls.map(({ tool, arguments: args, is_error: isError, exit_code: code, duration_ms: ms }) => [
      "called",
      `${tool} ${shortened(args)}: ${isError ? "refused" : code === null ? "no exit code" : `exit ${code}`}, ${formatDuration(ms)}`,
    ]),
    ["answered", shortened(record.answer, 600)],
    ...(record.answer_names_kernel ? [] : [["", doubt]]),
    ["", ""],
    ["isolation", record.isolation === "kvm" ? "KVM" : "software emulation (no usable KVM)"],
    ["kernel", `guest ${record.guest_kernel}`],
    ["rounds", `${rounds}, ${calls.length} ${calls.length === 1 ? "call" : "calls"}`],
    ["model took", formatDuration(record.model_ms)],
    ["VMs took", formatDuration(record.tools_ms)],
    ["all together", formatDuration(record.total_ms)],
  ]);
}

/** One line of what a model wrote. */
function shortened(text: string, length = 160): string {
  const line = visible(text.replace(/\s+/g, " ").trim());
  return line.length > length ? `${line.slice(0, length)}…` : line;
}

import { randomBytes } from "node:crypto";
import {
  createRequestStateCodec,
  inputRequired,
  inputResponse,
  type InputRequests,
  type ServerContext,
} from "@modelcontextprotocol/server";
import type { AddedTool } from "../../src/mcp/builder.js";
import { bulkResult } from "../../src/mcp/result.js";
import { objectOf, suiteTool } from "./content-tools.js";

/** State that goes through the client comes back as it was, or is refused. */
export const stateCodec = createRequestStateCodec<{ readonly step: number }>({
  ...{ key: randomBytes(32), ttlSeconds: 600 },
});

const string = { type: "string" } as const;
const YES = { ok: { type: "boolean" } } as const;
const text = (words: string) => bulkResult({ words, guest: "" }, {});

/** A form for the user. */
export function form(message: string, requestedSchema: object) {
  return inputRequired.elicit({ message, requestedSchema: requestedSchema as never });
}

function sample(words: string, maxTokens: number) {
  const content = { type: "text" as const, text: words };
  return inputRequired.createMessage({ messages: [{ role: "user", content }], maxTokens });
}

/** Whether the client answered. */
function has({ mcpReq }: ServerContext, key: string): boolean {
  return inputResponse(mcpReq.inputResponses, key).kind !== "missing";
}

/** Asks until all of it is answered. */
function asking(name: string, requests: InputRequests, step?: number): AddedTool {
  return suiteTool(name, async (_, __, context) => {
    const keys = Object.keys(requests);
    const isKept = step === undefined || context.mcpReq.requestState<{ step: number }>()?.step === step;
    if (isKept && keys.every((key) => has(context, key))) {
      const answers = keys.map((key) => inputResponse(context.mcpReq.inputResponses, key));
      return text(`answered: ${JSON.stringify(answers)}`);
    }
    return inputRequired({
      inputRequests: requests,
      ...(step === undefined ? {} : { requestState: await stateCodec.mint({ step }) }),
    });
  });
}

/** One question to the user, whose answer is told with the action. */
function eliciting(name: string, says: string, schema: object, input?: object): AddedTool {
  const run: AddedTool["run"] = async (args, _, { mcpReq }) => {
    const answer = inputResponse(mcpReq.inputResponses, "form");
    if (answer.kind === "elicit")
      return text(`${says}: action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`);
    const { message = "What is it?" } = args as { message?: string };
    return inputRequired({ inputRequests: { form: form(message, schema) } });
  };
  return suiteTool(name, run, { ...input });
}

const titled = [
  { const: "value1", title: "First Option" },
  { const: "value2", title: "Second Option" },
  { const: "value3", title: "Third Option" },
];
const options = ["option1", "option2", "option3"];

const DEFAULTS = objectOf(
  {
    name: { ...string, default: "John Doe" },
    age: { type: "integer", default: 30 },
    score: { type: "number", default: 95.5 },
    status: { ...string, enum: ["active", "inactive", "pending"], default: "active" },
    verified: { type: "boolean", default: true },
  },
  [],
);

const ENUMS = objectOf(
  {
    untitledSingle: { ...string, enum: options },
    titledSingle: { ...string, oneOf: titled },
    legacyEnum: {
      ...{ ...string, enum: ["opt1", "opt2", "opt3"] },
      enumNames: ["Option One", "Option Two", "Option Three"],
    },
    untitledMulti: { type: "array", items: { ...string, enum: options } },
    titledMulti: { type: "array", items: { anyOf: titled } },
  },
  [],
);

const PERSON = objectOf({
  username: { ...string, description: "User's response" },
  email: { ...string, description: "User's email address" },
});

const sampling = suiteTool(
  "test_sampling",
  async (args, _, { mcpReq }) => {
    const answer = inputResponse(mcpReq.inputResponses, "answer");
    if (answer.kind === "sampling") return text(`LLM response: ${JSON.stringify(answer.result.content)}`);
    return inputRequired({ inputRequests: { answer: sample((args as { prompt: string }).prompt, 100) } });
  },
  objectOf({ prompt: string }),
);

const multiRound = suiteTool("test_input_required_result_multi_round", async (_, __, context) => {
  const step = context.mcpReq.requestState<{ step: number }>()?.step ?? 0;
  if (step === 2 && has(context, "step2")) return text("both are answered");
  const isSecond = step === 1 && has(context, "step1");
  return inputRequired({
    inputRequests: isSecond
      ? { step2: form("Step 2: What is your favorite color?", objectOf({ color: string })) }
      : { step1: form("Step 1: What is your name?", objectOf({ name: string })) },
    requestState: await stateCodec.mint({ step: isSecond ? 2 : 1 }),
  });
});

const capabilities = suiteTool("test_input_required_result_capabilities", async (_, __, context) => {
  const envelope = context.mcpReq.envelope as Readonly<Record<string, unknown>> | undefined;
  const can = (envelope?.["io.modelcontextprotocol/clientCapabilities"] ?? {}) as Readonly<
    Record<string, unknown>
  >;
  const requests: InputRequests = {
    ...(can["sampling"] === undefined ? {} : { sampled: sample("hi", 5) }),
    ...(can["elicitation"] === undefined ? {} : { form: form("Name?", objectOf({ name: string })) }),
  };
  const keys = Object.keys(requests);
  if (keys.length === 0 || keys.some((key) => has(context, key))) return text("enough is known");
  return inputRequired({ inputRequests: requests });
});

const name = form("What is your name?", objectOf({ name: string }));
const roots = inputRequired.listRoots();

/** Tools that need something of the client before they can answer. */
export const INPUT_TOOLS: readonly AddedTool[] = [
  sampling,
  eliciting("test_elicitation", "User response", PERSON, objectOf({ message: string })),
  eliciting("test_elicitation_sep1034_defaults", "Elicitation completed", DEFAULTS),
  eliciting("test_elicitation_sep1330_enums", "Elicitation completed", ENUMS),
  asking("test_input_required_result_elicitation", { user_name: name }),
  asking("test_streaming_elicitation", { user_name: name }),
  asking("test_missing_capability", { answer: sample("hi", 5) }),
  asking("test_input_required_result_sampling", {
    capital_question: sample("What is the capital of France?", 100),
  }),
  asking("test_input_required_result_list_roots", { client_roots: roots }),
  asking("test_input_required_result_request_state", { confirm: form("Please confirm", objectOf(YES)) }, 1),
  asking("test_input_required_result_tampered_state", { confirm: form("Please confirm", objectOf(YES)) }, 1),
  asking(
    "test_input_required_result_multiple_inputs",
    { user_name: name, greeting: sample("Generate a greeting", 50), client_roots: roots },
    1,
  ),
  multiRound,
  capabilities,
];

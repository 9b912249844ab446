/** What an OpenAI-compatible endpoint answers, read without trust: nothing of it need be as it should. */

import { isJsonObject } from "../../kit/index.js";

/** A call that a model asks for. */
export interface AskedCall {
  /** Made up where the endpoint gives none. */
  readonly id: string;
  readonly name: string;
  /** JSON, or what the model took for it. */
  readonly arguments: string;
}

export interface ModelReply {
  readonly text: string;
  readonly calls: readonly AskedCall[];
}

/** The names of a list of models; undefined where it is none. */
export function modelsIn(answer: unknown): readonly string[] | undefined {
  const list = isJsonObject(answer) ? answer["data"] : undefined;
  // Ollama without a model says null.
  if (list === null) return [];
  if (!Array.isArray(list)) return undefined;
  return list.flatMap((item: unknown) =>
    isJsonObject(item) && typeof item["id"] === "string" ? [item["id"]] : [],
  );
}

/** The message of a completion; else what is wrong with the answer. */
export function replyIn(answer: unknown): ModelReply | string {
  if (!isJsonObject(answer)) return "is no object";
  const { choices, error } = answer;
  if (error !== undefined && error !== null) return "is an error";
  if (!Array.isArray(choices)) return "has no choices";
  const first: unknown = choices[0];
  const message = isJsonObject(first) ? first["message"] : undefined;
  if (!isJsonObject(message)) return "has no message";
  const calls = message["tool_calls"] ?? [];
  if (!Array.isArray(calls)) return "has tool calls that are no list";
  return { text: textOf(message["content"]), calls: calls.map(callOf) };
}

/** A call without a name has the name "": the model is told which there are. */
function callOf(value: unknown, index: number): AskedCall {
  const call = isJsonObject(value) ? value : {};
  const asked = isJsonObject(call["function"]) ? call["function"] : {};
  const { name, arguments: args } = asked;
  return {
    id: typeof call["id"] === "string" && call["id"] !== "" ? call["id"] : `call_${index}`,
    name: typeof name === "string" ? name : "",
    // The API has text; some servers give the object itself.
    arguments: typeof args === "string" ? args : JSON.stringify(args ?? {}),
  };
}

/** Without what a model thinks aloud first. */
function textOf(content: unknown): string {
  const parts: readonly unknown[] = Array.isArray(content) ? content : [{ text: content }];
  const text = parts
    .map((part) => (isJsonObject(part) && typeof part["text"] === "string" ? part["text"] : ""))
    .join("");
  return text.replace(/^\s*<think>.*?<\/think>/s, "").trim();
}

import {
  fromJsonSchema,
  type CallToolResult,
  type ContentBlock,
  type ServerNotifier,
  type StandardSchemaWithJSON,
} from "@modelcontextprotocol/server";
import type { AddedTool } from "../../src/mcp/builder.js";
import { bulkResult, recordResult } from "../../src/mcp/result.js";

// Red pixel, and a sound of no samples: the smallest that are what they say.
export const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";
const BETWEEN_MS = 50;

type Json = Readonly<Record<string, unknown>>;

/** The schema of an object whose fields are all needed, unless some are named. */
export function objectOf(properties: Readonly<Record<string, Json>>, required = Object.keys(properties)) {
  return { type: "object" as const, properties, required };
}

/** A tool of the suite: named in its requirements, with an input as JSON schema. */
export function suiteTool(name: string, run: AddedTool["run"], input: Json = objectOf({})): AddedTool {
  const inputSchema: StandardSchemaWithJSON = fromJsonSchema(input);
  return {
    name,
    summary: name,
    description: `${name} of the conformance suite`,
    kind: "read",
    inputSchema,
    run,
  };
}

const pause = async (): Promise<void> => await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
const content = (...blocks: ContentBlock[]): CallToolResult => ({ content: blocks });
const image: ContentBlock = { type: "image", data: PNG, mimeType: "image/png" };

const resource = (uri: string, mimeType: string, text: string): ContentBlock => ({
  type: "resource",
  resource: { uri, mimeType, text },
});

const LOGGED = ["Tool execution started", "Tool processing data", "Tool execution completed"];

const logging: AddedTool["run"] = async (_, __, context) => {
  for (const message of LOGGED) {
    // Deprecated since 2026-07-28, and required of whoever speaks 2025-11-25.
    // eslint-disable-next-line @typescript-eslint/no-deprecated
    await context.mcpReq.log("info", message);
    await pause();
  }
  return bulkResult({ words: "three messages were logged", guest: "" }, {});
};

const JSON_SCHEMA_2020_12 = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  ...{ type: "object", additionalProperties: false },
  $defs: {
    address: {
      ...{ $anchor: "addressDef", type: "object" },
      properties: { street: { type: "string" }, city: { type: "string" } },
    },
  },
  properties: {
    name: { type: "string" },
    address: { $ref: "#/$defs/address" },
    contactMethod: { type: "string", enum: ["phone", "email"] },
    phone: { type: "string" },
    email: { type: "string" },
  },
  allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
  if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
  then: { required: ["phone"] },
  else: { required: ["email"] },
};

/** Tools that answer at once, with each kind of content; texts and records are made as pyro's own are. */
export function contentTools(notify: () => ServerNotifier): readonly AddedTool[] {
  return [
    suiteTool("test_simple_text", async () =>
      bulkResult({ words: "This is a simple text response for testing.", guest: "" }, {}),
    ),
    suiteTool("test_image_content", async () => content(image)),
    suiteTool("test_audio_content", async () => content({ type: "audio", data: WAV, mimeType: "audio/wav" })),
    suiteTool("test_embedded_resource", async () =>
      content(resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")),
    ),
    suiteTool("test_multiple_content_types", async () =>
      content(
        { type: "text", text: "Multiple content types test:" },
        image,
        resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
      ),
    ),
    suiteTool("test_error_handling", async () => {
      throw new Error("This tool intentionally returns an error for testing");
    }),
    suiteTool("test_tool_with_progress", async (_, { onProgress }) => {
      for (const message of ["half", "all"]) {
        await pause();
        onProgress(message);
      }
      return recordResult("three notifications: the first says that it begins", { told: 3 });
    }),
    suiteTool("test_tool_with_logging", logging),
    suiteTool("test_logging_tool", logging),
    suiteTool("json_schema_2020_12_tool", async () => recordResult("taken", {}), JSON_SCHEMA_2020_12),
    suiteTool(
      "test_x_mcp_header",
      async (args) => recordResult(JSON.stringify(args), { args }),
      objectOf({ region: { type: "string", "x-mcp-header": "Region" } }),
    ),
    suiteTool("test_trigger_tool_change", async () => {
      notify().toolsChanged();
      return recordResult("told", {});
    }),
    suiteTool("test_trigger_prompt_change", async () => {
      notify().promptsChanged();
      return recordResult("told", {});
    }),
  ];
}

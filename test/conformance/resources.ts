import {
  acceptedContent,
  completable,
  inputRequired,
  ResourceTemplate,
  type McpRequestContext,
  type McpServer,
} from "@modelcontextprotocol/server";
import * as z from "zod";
import { objectOf, PNG } from "./content-tools.js";
import { form } from "./input-tools.js";

/** Resources and prompts of the suite: pyro has none of its own yet. */
export function addResourcesAndPrompts(server: McpServer, request: McpRequestContext | undefined): void {
  addResource(server, "static-text", "text/plain", {
    text: "This is the content of the static text resource.",
  });
  addResource(server, "static-binary", "image/png", { blob: PNG });
  addResource(server, "watched-resource", "text/plain", { text: "watched" });
  const template = new ResourceTemplate("test://template/{id}/data", { list: undefined });
  const mimeType = "application/json";
  server.registerResource("template", template, { mimeType }, async (uri, { id }) => {
    const text = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${String(id)}` });
    return { contents: [{ uri: uri.href, mimeType, text }] };
  });
  // The newer revision has a stream of its own for this, which is the SDK's.
  if (request?.era !== "modern") {
    server.server.setRequestHandler("resources/subscribe", () => ({}));
    server.server.setRequestHandler("resources/unsubscribe", () => ({}));
  }
  addPrompts(server);
}

function addResource(
  server: McpServer,
  name: string,
  mimeType: string,
  body: { readonly text: string } | { readonly blob: string },
): void {
  server.registerResource(name, `test://${name}`, { mimeType }, async (uri) => ({
    contents: [{ uri: uri.href, mimeType, ...body }],
  }));
}

const says = (text: string) => ({ role: "user" as const, content: { type: "text" as const, text } });

function addPrompts(server: McpServer): void {
  server.registerPrompt("test_simple_prompt", { description: "simple" }, async () => ({
    messages: [says("This is a simple prompt for testing.")],
  }));
  const places = ["paris", "park", "party"];
  const arg1 = completable(z.string(), (begun) => places.filter((place) => place.startsWith(begun)));
  server.registerPrompt(
    "test_prompt_with_arguments",
    { description: "with arguments", argsSchema: z.object({ arg1, arg2: z.string() }) },
    async (given) => ({
      messages: [says(`Prompt with arguments: arg1='${given.arg1}', arg2='${given.arg2}'`)],
    }),
  );
  server.registerPrompt(
    "test_prompt_with_embedded_resource",
    { description: "with a resource", argsSchema: z.object({ resourceUri: z.string() }) },
    async ({ resourceUri: uri }) => {
      const resource = { uri, mimeType: "text/plain", text: "Embedded resource content for testing." };
      const embedded = { role: "user" as const, content: { type: "resource" as const, resource } };
      return { messages: [embedded, says("Please process the embedded resource above.")] };
    },
  );
  server.registerPrompt("test_prompt_with_image", { description: "with an image" }, async () => {
    const image = { type: "image" as const, data: PNG, mimeType: "image/png" };
    return { messages: [{ role: "user" as const, content: image }, says("Please analyze the image above.")] };
  });
  const question = form("What context should the prompt use?", objectOf({ context: { type: "string" } }));
  server.registerPrompt("test_input_required_result_prompt", { description: "asks" }, async ({ mcpReq }) => {
    const answer = acceptedContent(mcpReq.inputResponses, "user_context", z.object({ context: z.string() }));
    if (answer === undefined) return inputRequired({ inputRequests: { user_context: question } });
    return { messages: [says(`Context: ${answer.context}`)] };
  });
}

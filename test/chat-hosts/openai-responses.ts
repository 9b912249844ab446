import {
  objects,
  textBlocks,
  textOf,
  typedEvent,
  type JsonObject,
  type ModelApi,
  type StreamEvent,
} from "./model-api.js";

/** OpenAI's Responses API, streaming. */
export const openaiResponses: ModelApi = {
  path: "/v1/responses",

  read(body) {
    const input = objects(body["input"]);
    // A message may leave out its type.
    const messages = input.filter(({ type = "message", role }) => type === "message" && role !== "assistant");
    const tools = objects(body["tools"]).flatMap((tool) =>
      tool["type"] === "namespace"
        ? objects(tool["tools"]).map((inner) => offered(inner, textOf(tool, "name")))
        : [offered(tool)],
    );
    // What a server says of itself stands with its namespace.
    const namespaces = objects(body["tools"]).filter(({ type }) => type === "namespace");
    const said = [
      textOf(body, "instructions"),
      ...namespaces.map((tool) => textOf(tool, "description")),
      ...messages.flatMap(({ content }) => textBlocks(content)),
    ];
    return {
      tools,
      instructions: said.join("\n"),
      results: input
        .filter(({ type }) => typeof type === "string" && type.endsWith("_call_output"))
        // The API has no field for a failure.
        .map(({ output }) => ({ isError: false, blocks: textBlocks(output) })),
    };
  },

  reply(reply, id, model) {
    const item =
      "tool" in reply
        ? {
            ...{ type: "function_call", id: `fc_${id}`, call_id: `call_${id}`, name: reply.tool.name },
            ...(reply.tool.namespace === undefined ? {} : { namespace: reply.tool.namespace }),
            arguments: JSON.stringify(reply.args),
            status: "completed",
          }
        : {
            ...{ type: "message", id: `msg_${id}`, role: "assistant", status: "completed" },
            content: [{ type: "output_text", text: reply.say, annotations: [] }],
          };
    const usage = { input_tokens: 1, output_tokens: 1, total_tokens: 2 };
    const response = { id: `resp_${id}`, object: "response", model, created_at: 0 };
    return [
      typedEvent({ type: "response.created", response: { ...response, status: "in_progress", output: [] } }),
      typedEvent({ type: "response.output_item.added", output_index: 0, item: begun(item) }),
      delta(item),
      typedEvent({ type: "response.output_item.done", output_index: 0, item }),
      typedEvent({
        type: "response.completed",
        response: { ...response, status: "completed", output: [item], usage },
      }),
    ];
  },
};

function offered(tool: JsonObject, namespace?: string) {
  const name = textOf(tool, "name");
  return {
    // Tools of the vendor's own have a type only.
    name: name === "" ? textOf(tool, "type") : name,
    namespace,
    description: textOf(tool, "description"),
    schema: tool["parameters"],
  };
}

type Item = { readonly id: string } & (
  { readonly arguments: string } | { readonly content: readonly { readonly text: string }[] }
);

/** An item before anything of it has come. */
function begun(item: Item) {
  return "arguments" in item ? { ...item, arguments: "" } : { ...item, content: [] };
}

/** All of an item as it comes: some programs read it from there, others from the whole item that follows. */
function delta(item: Item): StreamEvent {
  const at = { item_id: item.id, output_index: 0 };
  return "arguments" in item
    ? typedEvent({ type: "response.function_call_arguments.delta", ...at, delta: item.arguments })
    : typedEvent({
        ...{ type: "response.output_text.delta", ...at, content_index: 0 },
        delta: item.content.map(({ text }) => text).join(""),
      });
}

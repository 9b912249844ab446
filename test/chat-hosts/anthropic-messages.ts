import { objects, textBlocks, textOf, typedEvent, type ModelApi } from "./model-api.js";

/** Anthropic's Messages API, streaming. */
export const anthropicMessages: ModelApi = {
  path: "/v1/messages",

  read(body) {
    const messages = objects(body["messages"]);
    const blocks = messages.flatMap((message) =>
      message["role"] === "user" && typeof message["content"] !== "string" ? objects(message["content"]) : [],
    );
    const results = blocks.filter(({ type }) => type === "tool_result");
    const said = messages.flatMap(({ role, content }) => {
      if (role === "assistant") return [];
      if (typeof content === "string") return [content];
      return textBlocks(objects(content).filter(({ type }) => type === "text"));
    });
    return {
      tools: objects(body["tools"]).map((tool) => ({
        name: textOf(tool, "name"),
        description: textOf(tool, "description"),
        schema: tool["input_schema"],
      })),
      instructions: [...textBlocks(body["system"]), ...said].join("\n"),
      results: results.map((result) => ({
        isError: result["is_error"] === true,
        blocks: textBlocks(result["content"]),
      })),
    };
  },

  reply(reply, id, model) {
    const isCall = "tool" in reply;
    const message = {
      ...{ id: `msg_${id}`, type: "message", role: "assistant", model, content: [] },
      ...{ stop_reason: null, stop_sequence: null, usage: { input_tokens: 1, output_tokens: 1 } },
    };
    const content_block = isCall
      ? { type: "tool_use", id: `toolu_${id}`, name: reply.tool.name, input: {} }
      : { type: "text", text: "" };
    const delta = isCall
      ? { type: "input_json_delta", partial_json: JSON.stringify(reply.args) }
      : { type: "text_delta", text: reply.say };
    const stop = { stop_reason: isCall ? "tool_use" : "end_turn", stop_sequence: null };
    return [
      typedEvent({ type: "message_start", message }),
      typedEvent({ type: "content_block_start", index: 0, content_block }),
      typedEvent({ type: "content_block_delta", index: 0, delta }),
      typedEvent({ type: "content_block_stop", index: 0 }),
      typedEvent({ type: "message_delta", delta: stop, usage: { output_tokens: 1 } }),
      typedEvent({ type: "message_stop" }),
    ];
  },
};

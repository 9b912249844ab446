import { objects, textBlocks, textOf, type JsonObject, type ModelApi } from "./model-api.js";

/** OpenAI's Chat Completions API, streaming. */
export const openaiChat: ModelApi = {
  path: "/v1/chat/completions",

  read(body) {
    const messages = objects(body["messages"]);
    const said = messages.filter(({ role }) => role === "system" || role === "developer" || role === "user");
    return {
      tools: objects(body["tools"]).map((tool) => {
        const described = (tool["function"] ?? {}) as JsonObject;
        return {
          name: textOf(described, "name"),
          description: textOf(described, "description"),
          schema: described["parameters"],
        };
      }),
      instructions: said.flatMap(({ content }) => textBlocks(content)).join("\n"),
      results: messages
        .filter(({ role }) => role === "tool")
        // The API has no field for a failure.
        .map(({ content }) => ({ isError: false, blocks: textBlocks(content) })),
    };
  },

  reply(reply, id, model) {
    const chunk = { id: `chatcmpl_${id}`, object: "chat.completion.chunk", created: 0, model };
    const delta =
      "tool" in reply
        ? {
            role: "assistant",
            tool_calls: [
              {
                ...{ index: 0, id: `call_${id}`, type: "function" },
                function: { name: reply.tool.name, arguments: JSON.stringify(reply.args) },
              },
            ],
          }
        : { role: "assistant", content: reply.say };
    const finish_reason = "tool" in reply ? "tool_calls" : "stop";
    const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };
    return [
      { data: { ...chunk, choices: [{ index: 0, delta, finish_reason: null }] } },
      { data: { ...chunk, choices: [{ index: 0, delta: {}, finish_reason }], usage } },
      { data: "[DONE]" },
    ];
  },
};

import type { ChatHost, ReadResult } from "./hosts.js";
import type { Conversation } from "./scripted-model.js";

/** What the model reads of pyro through one host. */
export interface Reading {
  readonly host: ChatHost;
  readonly model: Conversation;
  /** Calls a tool of pyro, and gives its result without what the host added. */
  readonly call: (tool: string, args?: Readonly<Record<string, unknown>>) => Promise<ReadResult>;
  /** Asks for the schemas of tools, in hosts that defer them. */
  readonly load: (...tools: string[]) => Promise<void>;
}

export function readingOf(host: ChatHost, model: Conversation): Reading {
  return {
    host,
    model,
    call: async (tool, args) => host.read(await model.call(tool, args)),
    load: async (...tools) => {
      if (!host.defersTools) return;
      await model.call("ToolSearch", {
        query: `select:${tools.map((tool) => `mcp__pyro__${tool}`).join(",")}`,
      });
    },
  };
}

/** The call that an answer names: `next: workspace_logs(workspace_id="ws-1", sequence=1, offset=4598)`. */
export function namedCall({ words }: ReadResult): {
  readonly tool: string;
  readonly args: Readonly<Record<string, unknown>>;
} {
  const [, tool = "", list = ""] = /^next: (\w+)\((.*)\)$/m.exec(words) ?? [];
  const pairs = list.matchAll(/(\w+)=("(?:[^"\\]|\\.)*"|\d+)/g);
  const args = Array.from(
    pairs,
    ([, name = "", value = ""]) => [name, JSON.parse(value) as unknown] as const,
  );
  return { tool, args: Object.fromEntries(args) };
}

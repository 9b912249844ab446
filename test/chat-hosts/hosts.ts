import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { anthropicMessages } from "./anthropic-messages.js";
import type { ModelApi, ShownResult } from "./model-api.js";
import { openaiChat } from "./openai-chat.js";
import { openaiResponses } from "./openai-responses.js";

/** What a host is set up with, beside nothing of the user's. */
export interface HostSetup {
  /** The host's home directory; holds nothing else. */
  readonly home: string;
  readonly modelUrl: string;
  /** The command line of the MCP server, that the host starts in its working directory; or one that runs already. */
  readonly server: readonly [string, ...string[]] | ServerPlace;
  readonly serverEnv: Readonly<Record<string, string>>;
  readonly prompt: string;
}

/** A server over HTTP. */
export interface ServerPlace {
  readonly url: string;
  readonly token: string;
}

/** How a chat host is run once, without its user: what it must be told, and its command line. */
export interface ChatHost {
  readonly name: string;
  readonly api: ModelApi;
  /** Which of a record's two forms the model is shown. */
  readonly showsRecordsAs: "structure" | "text";
  /** Whether the model must ask for the schemas of tools that pyro does not mark as always loaded. */
  readonly defersTools: boolean;
  /** Whether the model is told that a result is an error by more than its text. */
  readonly marksErrors: boolean;
  /** Whether it shows as much of a result as a tool says that it may give. */
  readonly showsWhole: boolean;
  /** Before the names of pyro's tools. */
  readonly prefix: string;
  /** Paths in the user's checkout that the host itself writes. */
  readonly leaves: readonly string[];
  /** A result without what the host added. */
  readonly read: (result: ShownResult) => ReadResult;
  /** Writes the host's configuration below its home. */
  prepare(setup: HostSetup): Promise<HostCommand>;
}

/** What the model can tell apart in a result. */
export interface ReadResult {
  /** The first block: pyro's own words, or a record. */
  readonly words: string;
  /** The second: what the guest wrote. */
  readonly guest: string;
}

export interface HostCommand {
  /** The program in node_modules/.bin, and its arguments. */
  readonly argv: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
}

const claudeCode: ChatHost = {
  name: "Claude Code",
  api: anthropicMessages,
  showsRecordsAs: "structure",
  defersTools: true,
  marksErrors: true,
  showsWhole: true,
  prefix: "mcp__pyro__",
  leaves: [],
  read: ({ blocks: [words = "", guest = ""] }) => ({ words, guest }),
  async prepare({ home, modelUrl, server, serverEnv, prompt }) {
    const file = join(home, "mcp.json");
    const pyro =
      "url" in server
        ? { type: "http", url: server.url, headers: headersFor(server) }
        : { type: "stdio", command: server[0], args: server.slice(1), env: serverEnv };
    await write(file, JSON.stringify({ mcpServers: { pyro } }));
    const only = ["--mcp-config", file, "--strict-mcp-config", "--allowedTools", "mcp__pyro"];
    return {
      argv: ["claude", "-p", prompt, ...only, "--output-format", "json", "--model", "claude-opus-4-8"],
      env: {
        CLAUDE_CONFIG_DIR: join(home, ".claude"),
        ANTHROPIC_BASE_URL: modelUrl,
        ANTHROPIC_API_KEY: "sk-ant-none",
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
        DISABLE_AUTOUPDATER: "1",
        DISABLE_TELEMETRY: "1",
        DISABLE_ERROR_REPORTING: "1",
      },
    };
  },
};

const codex: ChatHost = {
  name: "Codex",
  api: openaiResponses,
  showsRecordsAs: "structure",
  defersTools: false,
  marksErrors: false,
  showsWhole: false,
  // Its namespace tells the server.
  prefix: "",
  leaves: [],
  // Before a text Codex puts the time that the call took, in a block of its own; before a structure in the same one.
  read: ({ blocks }) => {
    const [words = "", guest = ""] = /^Wall time: .* seconds\nOutput:\n?$/.test(blocks[0] ?? "")
      ? blocks.slice(1)
      : blocks;
    return { words: words.replace(/^Wall time: .* seconds\nOutput:\n/, ""), guest };
  },
  async prepare({ home, modelUrl, server, serverEnv, prompt }) {
    const env = Object.entries(serverEnv).map(([name, value]) => `${name} = ${JSON.stringify(value)}`);
    // A JSON string is a TOML string too.
    const config = [
      `model = "scripted"`,
      `model_provider = "scripted"`,
      `approval_policy = "never"`,
      `sandbox_mode = "read-only"`,
      `check_for_update_on_startup = false`,
      `[analytics]`,
      `enabled = false`,
      `[model_providers.scripted]`,
      `name = "scripted"`,
      `base_url = ${JSON.stringify(`${modelUrl}/v1`)}`,
      `env_key = "SCRIPTED_API_KEY"`,
      `wire_api = "responses"`,
      `request_max_retries = 0`,
      `stream_max_retries = 0`,
      `[mcp_servers.pyro]`,
      ...("url" in server
        ? [`url = ${JSON.stringify(server.url)}`, `bearer_token_env_var = "PYRO_TOKEN"`]
        : [
            `command = ${JSON.stringify(server[0])}`,
            `args = ${JSON.stringify(server.slice(1))}`,
            `env = { ${env.join(", ")} }`,
          ]),
      // Without it the first turn may begin before the server has said its tools.
      `required = true`,
    ];
    await write(join(home, ".codex/config.toml"), `${config.join("\n")}\n`);
    return {
      argv: ["codex", "exec", "--json", prompt],
      env: {
        ...{ CODEX_HOME: join(home, ".codex"), SCRIPTED_API_KEY: "none" },
        ...("url" in server ? { PYRO_TOKEN: server.token } : {}),
      },
    };
  },
};

const openCode: ChatHost = {
  name: "OpenCode",
  api: openaiChat,
  showsRecordsAs: "text",
  defersTools: false,
  marksErrors: false,
  showsWhole: false,
  prefix: "pyro_",
  leaves: [".git/opencode"],
  // OpenCode joins the blocks by an empty line.
  read: ({ blocks: [text = ""] }) => {
    const [words = ""] = text.split("\n\n", 1);
    return { words, guest: text.slice(words.length + 2) };
  },
  async prepare({ home, modelUrl, server, serverEnv, prompt }) {
    const model = { name: "Scripted", tool_call: true, limit: { context: 200_000, output: 8_192 } };
    const provider = {
      // OpenCode brings it along.
      npm: "@ai-sdk/openai-compatible",
      name: "Scripted",
      options: { baseURL: `${modelUrl}/v1`, apiKey: "none" },
      models: { scripted: model },
    };
    const config = {
      autoupdate: false,
      share: "disabled",
      model: "scripted/scripted",
      small_model: "scripted/scripted",
      provider: { scripted: provider },
      mcp: {
        pyro:
          "url" in server
            ? { type: "remote", enabled: true, oauth: false, url: server.url, headers: headersFor(server) }
            : { type: "local", enabled: true, command: server, environment: serverEnv },
      },
    };
    await write(join(home, ".config/opencode/opencode.json"), JSON.stringify(config));
    return {
      argv: ["opencode", "run", "--format", "json", prompt],
      env: {
        XDG_CONFIG_HOME: join(home, ".config"),
        XDG_DATA_HOME: join(home, ".local/share"),
        XDG_STATE_HOME: join(home, ".local/state"),
        XDG_CACHE_HOME: join(home, ".cache"),
        OPENCODE_DISABLE_AUTOUPDATE: "1",
        OPENCODE_DISABLE_MODELS_FETCH: "1",
        OPENCODE_DISABLE_LSP_DOWNLOAD: "1",
      },
    };
  },
};

export const CHAT_HOSTS = { claudeCode, codex, openCode } as const;

function headersFor({ token }: ServerPlace): Readonly<Record<string, string>> {
  return { Authorization: `Bearer ${token}` };
}

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

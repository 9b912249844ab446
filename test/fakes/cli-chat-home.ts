import { realpath } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, vi } from "vitest";
import { fakeServer, homeWithHosts, type ChatHome } from "./chat-home.js";
import { cli, type CliRun } from "./cli-host.js";

/** Where `bin/pyro` of this checkout is: what an entry starts where PATH has no pyro. */
export const LAUNCHER = join(import.meta.dirname, "../../bin/pyro");
export const HOSTS = ["claude-code", "codex", "opencode"] as const;
export const FILES = {
  "claude-code": ".claude.json",
  codex: ".codex/config.toml",
  opencode: ".config/opencode/opencode.json",
};

/** `pyro host …` in this process, in a home of the test's. */
export interface CliChatHome {
  readonly home: ChatHome;
  readonly host: (...args: string[]) => Promise<CliRun>;
  readonly json: (...args: string[]) => Promise<Record<string, unknown>>;
  /** What doctor says of one host. */
  readonly report: (name: string) => Promise<Record<string, unknown>>;
  /** A text without the paths of this run. */
  readonly shown: (text: string) => string;
  /** Puts a `pyro` on PATH that serves; gives its path. */
  readonly serving: (name?: string) => Promise<string>;
}

/** Each test of the file gets a home in which all hosts work, and its variables and working directory. */
export function useChatHome(): CliChatHome {
  let home: ChatHome | undefined;
  beforeEach(async () => {
    home = await homeWithHosts();
    vi.stubEnv("HOME", home.at());
    vi.stubEnv("PATH", home.world.env["PATH"] ?? "");
    for (const name of ["CLAUDE_CONFIG_DIR", "CODEX_HOME", "XDG_CONFIG_HOME", "OPENCODE_CONFIG"])
      vi.stubEnv(name, undefined);
    vi.spyOn(process, "cwd").mockReturnValue(await realpath(home.world.cwd));
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    vi.unstubAllEnvs();
    await home?.[Symbol.asyncDispose]();
  });
  const its = (): ChatHome => {
    if (home === undefined) throw new Error("no test runs");
    return home;
  };
  const host: CliChatHome["host"] = (...args) => cli(["host", ...args]);
  const json: CliChatHome["json"] = async (...args) =>
    JSON.parse((await host(...args, "--json")).stdout) as Record<string, unknown>;
  return {
    get home() {
      return its();
    },
    ...{ host, json },
    report: async (name) => ((await json("doctor", name))["hosts"] as Record<string, unknown>[])[0] ?? {},
    shown: (text) => text.replaceAll(its().at(), "~").replaceAll(LAUNCHER, "/checkout/bin/pyro"),
    serving: (name = "pyro") => its().program("pyro", fakeServer(name)),
  };
}

/**
 * Chat hosts as pyro's user has them: where each keeps the entry `pyro`, how it is read, written and mended, and what
 * the host itself says of it. Knows nothing of what the entry serves. Every byte of a configuration that is not of our
 * entry stays as it is, unless the host's own command writes; a file that its host cannot read is never written.
 * Hosts are started as the user would start them, with a deadline.
 */
import type { ChatHost, ChatHostName } from "./chat-host.js";
import { claudeCode } from "./claude-code.js";
import { codex } from "./codex.js";
import { opencode } from "./opencode.js";

export {
  CHAT_HOSTS,
  type ChatHost,
  type ChatHostName,
  type Entry,
  type HostCheck,
  type HostWorld,
  type RemoteServer,
  type Snippet,
  type StartCommand,
} from "./chat-host.js";
export { byWindow, remoteByWindow } from "./windows.js";
export { findPyro, launcherOf, NPX_START } from "./launcher.js";
export { probeServer, type Probe } from "./probe.js";
export { probeRemote } from "./probe-http.js";
export { bearer } from "./entry.js";
export { shellLine, shownLine, shownWords } from "./shell-line.js";

/** A host by its name; `only` is another file than the host's own, where it has files. */
export function chatHost(name: ChatHostName, only?: string): ChatHost {
  switch (name) {
    case "claude-code":
      return claudeCode;
    case "codex":
      return codex;
    case "opencode":
      return opencode(only);
  }
}

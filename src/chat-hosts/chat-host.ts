/** The chat hosts that pyro connects by itself, in the order in which the help names them. */
export const CHAT_HOSTS = ["claude-code", "codex", "opencode"] as const;
export type ChatHostName = (typeof CHAT_HOSTS)[number];

/** The name of our entry in every host's configuration. */
export const ENTRY_NAME = "pyro";

/** The user's surroundings, as the host itself would see them. */
export interface HostWorld {
  /** Every variable of the user: hosts find their configuration by them. */
  readonly env: Readonly<Record<string, string>>;
  /** Absolute; a host's project configuration depends on it. */
  readonly cwd: string;
  readonly signal?: AbortSignal | undefined;
  /** How long one command of a host may take, in milliseconds; default 30 s. */
  readonly commandMs?: number | undefined;
}

/** What a host starts as a server: a program and its words, never a line for a shell. */
export type StartCommand = readonly [string, ...string[]];

/** A server over HTTP that runs already, and the token for it. */
export interface RemoteServer {
  readonly url: string;
  readonly token: string;
  /** Where the token stands, absolute: hosts that can read it there keep none of their own. */
  readonly tokenFile: string;
}

/** What an entry starts. */
export type EntryStart =
  | { readonly kind: "program"; readonly command: StartCommand }
  /** A server that runs already; `authorization` is the header that the host sends, where it is known here. */
  | { readonly kind: "remote"; readonly url: string; readonly authorization?: string | undefined }
  /** An entry that the host itself cannot use; `says` what is wrong with it. */
  | { readonly kind: "malformed"; readonly says: string };

/** The entry `pyro` of a host's configuration. */
export interface Entry {
  /** The file that holds it, absolute. */
  readonly path: string;
  /**
   * Which of the host's places that is: "user" for all projects, "local" for one, both in the user's own files;
   * "project" in a file of the project itself, which anybody may have written.
   */
  readonly scope: string;
  readonly start: EntryStart;
  /** Variables that the entry gives to the server. */
  readonly env: Readonly<Record<string, string>>;
  /** The variable that the host finds the token in, where the entry says so. */
  readonly tokenVariable?: string;
  /** False where the user switched it off in the host. */
  readonly enabled: boolean;
}

/** What a host itself says of the entry. */
export interface HostCheck {
  /** The host's command that said it. */
  readonly by: string;
  readonly ok: boolean;
  readonly says: string;
}

/** What a person types or pastes to connect the host. */
export interface Snippet {
  /** The host's own command as one line for a shell; undefined where it has none that leaves the rest alone. */
  readonly command: string | undefined;
  /** What has to stand in `path`. */
  readonly config: string;
  readonly path: string;
}

/**
 * One chat host. `read` starts nothing; what writes leaves every byte of the file that is not of our entry alone, or
 * has the host's own command write. All throw PyroError: HOST_CONFIG_INVALID where the file is not what the host reads,
 * HOST_CONFIG_NOT_WRITABLE, HOST_COMMAND_FAILED.
 */
export interface ChatHost {
  readonly name: ChatHostName;
  /** As people call it. */
  readonly title: string;
  /** Its command on PATH. */
  readonly program: string;
  /** How a person installs it. */
  readonly installation: string;
  /** The file that a new entry goes to. */
  configPath(world: HostWorld): Promise<string>;
  /** The entry that is in force in `world.cwd`. */
  read(world: HostWorld): Promise<Entry | undefined>;
  /** Adds the entry where `read` found none. */
  add(world: HostWorld, command: StartCommand): Promise<Entry>;
  /** Makes an entry that `read` found start `command`; what else stands in it stays. */
  mend(world: HostWorld, entry: Entry, command: StartCommand): Promise<Entry>;
  /** Makes the host come to a server over HTTP, by a new entry, or in the place of one that `read` found. */
  connectRemote(world: HostWorld, server: RemoteServer, there: Entry | undefined): Promise<Entry>;
  /** Asks the host itself; most start the server for it. */
  check(world: HostWorld, entry: Entry): Promise<HostCheck>;
  snippet(world: HostWorld, command: StartCommand): Promise<Snippet>;
  /** The same for a server over HTTP; nothing in it is the token itself. */
  remoteSnippet(world: HostWorld, server: Omit<RemoteServer, "token">): Promise<Snippet>;
  /** What a person does to take an entry away. */
  removal(entry: Entry): string;
}

import { isAbsolute, join } from "node:path";
import { readFile, stat } from "node:fs/promises";
import * as z from "zod";
import { LIMITS, PyroError } from "../protocol/index.js";
import { askHelper } from "./credential-helper.js";
import type { Credentials, CredentialSource } from "./credentials.js";
import type { Endpoint } from "./registries.js";

export interface ContainerConfiguration {
  readonly home: string;
  /** DOCKER_CONFIG, XDG_RUNTIME_DIR, XDG_CONFIG_HOME and PATH are looked at, and handed to helpers what they need. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

const text = z.string().max(64 * 1024);
const schema = z.object({
  auths: z
    .record(
      z.string(),
      z.object({
        auth: text.optional(),
        username: text.optional(),
        password: text.optional(),
        identitytoken: text.optional(),
      }),
    )
    .nullish(),
  credHelpers: z.record(z.string(), text).nullish(),
  credsStore: text.optional(),
});
type Configuration = z.infer<typeof schema>;

/**
 * The user's logins of docker and podman, looked up anew each time: `podman login` counts at once. Files are asked in the
 * order of containers-auth.json(5), in each the helper of the registry, then its entry, then the helper for all.
 */
export function containerCredentials(where: ContainerConfiguration): CredentialSource {
  return async (endpoint, repository, signal) => {
    for (const path of filesOf(where)) {
      const configuration = await readConfiguration(path);
      if (configuration === undefined) continue;
      const found = await find(configuration, path, endpoint, repository, where, signal);
      if (found !== undefined) return found;
    }
    return undefined;
  };
}

function filesOf({ home, environment }: ContainerConfiguration): string[] {
  const directory = (name: string, fallback: string | undefined): string | undefined => {
    const set = environment[name];
    return set !== undefined && isAbsolute(set) ? set : fallback;
  };
  const runtime = directory("XDG_RUNTIME_DIR", undefined);
  return [
    ...(runtime === undefined ? [] : [join(runtime, "containers/auth.json")]),
    join(directory("XDG_CONFIG_HOME", undefined) ?? join(home, ".config"), "containers/auth.json"),
    join(directory("DOCKER_CONFIG", undefined) ?? join(home, ".docker"), "config.json"),
  ];
}

async function readConfiguration(path: string): Promise<Configuration | undefined> {
  let content: string;
  try {
    const facts = await stat(path);
    if (!facts.isFile() || facts.size > LIMITS.containerConfigBytes)
      throw invalid(path, "it is no file, or too long");
    content = await readFile(path, "utf8");
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    if (error instanceof PyroError) throw error;
    throw invalid(path, `it cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown"})`);
  }
  try {
    return schema.parse(JSON.parse(content));
  } catch {
    // The parser's own message would quote what it read.
    throw invalid(path, "it is not as docker and podman write it");
  }
}

async function find(
  configuration: Configuration,
  path: string,
  endpoint: Endpoint,
  repository: string,
  { environment }: ContainerConfiguration,
  signal: AbortSignal,
): Promise<Credentials | undefined> {
  const { auths, credHelpers, credsStore } = configuration;
  for (const login of endpoint.logins) {
    const helper = credHelpers?.[login];
    if (helper === undefined) continue;
    return await askHelper(helper, login, environment, signal);
  }
  const entries = new Map(Object.entries(auths ?? {}).map(([key, entry]) => [normalized(key), entry]));
  for (const key of keysOf(endpoint, repository)) {
    const entry = entries.get(key);
    const found = entry === undefined ? undefined : credentialsOf(entry, path);
    if (found !== undefined) return found;
  }
  const [first] = endpoint.logins;
  return credsStore === undefined || first === undefined
    ? undefined
    : await askHelper(credsStore, first, environment, signal);
}

/** podman takes entries of a part of a registry too, the longest first; docker has hosts alone. */
function keysOf({ logins }: Endpoint, repository: string): string[] {
  const parts = repository.split("/");
  return logins.flatMap((login) => {
    const host = normalized(login);
    return [...parts.map((_, index) => [host, ...parts.slice(0, parts.length - index)].join("/")), host];
  });
}

/** Docker once wrote whole addresses: `https://HOST/v1/` is HOST. */
function normalized(key: string): string {
  return key
    .replace(/^https?:\/\//, "")
    .replace(/\/(?:v[12]\/?)?$/, "")
    .toLowerCase();
}

function credentialsOf(
  entry: NonNullable<Configuration["auths"]>[string],
  path: string,
): Credentials | undefined {
  if (entry.identitytoken !== undefined && entry.identitytoken !== "") {
    return { kind: "identity-token", token: entry.identitytoken };
  }
  if (entry.auth !== undefined && entry.auth !== "") {
    const pair = Buffer.from(entry.auth, "base64").toString("utf8");
    const colon = pair.indexOf(":");
    if (colon < 1) throw invalid(path, "one of its `auth` entries is no user and password");
    // Old versions of docker end it with NULs.
    return {
      kind: "password",
      username: pair.slice(0, colon),
      password: pair.slice(colon + 1).replace(/\0+$/, ""),
    };
  }
  const { username = "", password } = entry;
  return username === "" || password === undefined ? undefined : { kind: "password", username, password };
}

function invalid(path: string, problem: string): PyroError {
  return new PyroError(
    "REGISTRY_CREDENTIALS_INVALID",
    `the container configuration ${path} cannot be used: ${problem}`,
    {
      hint: "mend the file, or move it away and log in anew",
      details: { path, problem },
    },
  );
}

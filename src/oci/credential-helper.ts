import * as z from "zod";
import { baseEnvironment, complete, findProgram, LaunchError, searchPath, shown } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { Credentials } from "./credentials.js";

/** What keyrings and password stores need to find their user's session. */
const PASSED_ON = [
  ...["PATH", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"],
  ...["GNUPGHOME", "PASSWORD_STORE_DIR", "DISPLAY", "WAYLAND_DISPLAY", "DOCKER_CONFIG"],
];
const schema = z.object({ Username: z.string(), Secret: z.string() });
/** docker-credential-helpers, credentials/error.go. */
const NOT_FOUND = /credentials not found in native keychain/;

/**
 * Asks `docker-credential-NAME get` for a registry's login: the registry on its standard input, JSON on its standard
 * output (docker-credential-helpers). One that has none is no error.
 * @throws {PyroError} REGISTRY_CREDENTIALS_INVALID without a word of what the helper said
 */
export async function askHelper(
  name: string,
  registry: string,
  environment: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<Credentials | undefined> {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name))
    throw failed(shown(name), "that is no name of a helper");
  const program = `docker-credential-${name}`;
  const path = await findProgram(program, searchPath(environment["PATH"] ?? process.env["PATH"]));
  if (path === undefined) throw failed(program, "it is not installed");
  const env = baseEnvironment();
  for (const variable of PASSED_ON) {
    const value = environment[variable];
    if (value !== undefined) env[variable] = value;
  }
  const deadline = AbortSignal.timeout(LIMITS.credentialHelperMs);
  const answer = await complete(path, ["get"], {
    ...{ env, input: registry, maxBytes: LIMITS.containerConfigBytes },
    signal: AbortSignal.any([signal, deadline]),
  }).catch((error: unknown) => {
    signal.throwIfAborted();
    if (deadline.aborted)
      throw failed(program, `it gave no answer within ${LIMITS.credentialHelperMs / 1000} s`);
    throw error instanceof LaunchError ? failed(program, `it cannot be started (${error.code})`) : error;
  });
  if (answer.code !== 0) {
    if (NOT_FOUND.test(`${answer.stdout}${answer.stderrTail}`)) return undefined;
    throw failed(
      program,
      answer.signal === null ? `it ended with ${answer.code}` : `${answer.signal} ended it`,
    );
  }
  return parse(program, answer.stdout);
}

function parse(program: string, text: string): Credentials | undefined {
  let said: z.infer<typeof schema>;
  try {
    said = schema.parse(JSON.parse(text));
  } catch {
    throw failed(program, "it did not answer as a helper does");
  }
  const { Username: username, Secret: secret } = said;
  if (secret === "") return undefined;
  // docker's own mark for an identity token.
  if (username === "<token>") return { kind: "identity-token", token: secret };
  return { kind: "password", username, password: secret };
}

function failed(program: string, problem: string): PyroError {
  return new PyroError(
    "REGISTRY_CREDENTIALS_INVALID",
    `the credential helper ${program} failed: ${problem}`,
    {
      hint: `try it by itself: \`echo REGISTRY | ${program} get\`; or log in anew`,
      details: { helper: program, problem },
    },
  );
}

import { LIMITS, PyroError } from "../../protocol/index.js";
import { essenceOf } from "./forms.js";

/** A secret as it was given. */
export interface Secret {
  readonly name: string;
  /** "value" or "file". */
  readonly sourceKind: string;
  /** Any bytes but NUL. */
  readonly value: Uint8Array;
}

/** Of secrets, and of the variables that they are given in (contract section 4). */
const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;

/**
 * Secrets as they may be kept. No error shows anything of a value.
 * @throws {PyroError} INVALID_ARGUMENT, ARGUMENT_TOO_LARGE
 */
export function checkSecrets(secrets: readonly Secret[]): readonly Secret[] {
  if (secrets.length > LIMITS.secretCount)
    throw tooLarge(`there are ${secrets.length} secrets; at most ${LIMITS.secretCount} are kept`);
  const seen = new Set<string>();
  for (const { name, value } of secrets) {
    requireSecretName(name);
    if (seen.has(name)) throw invalid(`the secret ${name} is given twice`, "give each name once");
    seen.add(name);
    checkValue(name, value);
  }
  const bytes = secrets.reduce((sum, { value }) => sum + value.length, 0);
  if (bytes > LIMITS.secretsTotalBytes)
    throw tooLarge(`the secrets have ${bytes} bytes together; at most ${LIMITS.secretsTotalBytes} are kept`);
  return secrets;
}

function checkValue(name: string, value: Uint8Array): void {
  if (value.length === 0) throw invalid(`the secret ${name} is empty`, "give it a value, or leave it out");
  if (essenceOf(value).length < LIMITS.secretMinBytes) {
    throw invalid(
      `the secret ${name} is shorter than ${LIMITS.secretMinBytes} bytes, white space around it not counted`,
      "so short a value cannot be hidden: taking it out of all output would garble that, and give the value away; " +
        "a longer one can, or pass it with --env (`env`) if it is no secret",
    );
  }
  if (value.length > LIMITS.secretBytes)
    throw tooLarge(`the secret ${name} has ${value.length} bytes; at most ${LIMITS.secretBytes} are kept`);
  if (value.includes(0))
    throw invalid(
      `the secret ${name} holds a NUL byte`,
      "no variable can hold one: encode it, for example in base64",
    );
}

/** @throws {PyroError} INVALID_ARGUMENT */
export function requireSecretName(name: string, what = "secret"): void {
  if (NAME.test(name)) return;
  throw invalid(
    `the name ${JSON.stringify(name.slice(0, 80))} of a ${what} is not allowed`,
    "1 to 64 letters, digits and underscores; the first no digit",
  );
}

export function invalid(message: string, hint: string): PyroError {
  return new PyroError("INVALID_ARGUMENT", message, { hint });
}

function tooLarge(message: string): PyroError {
  return new PyroError("ARGUMENT_TOO_LARGE", message, {
    hint: "push what is large as a file, with `pyro workspace sync push`: it is not redacted then",
  });
}

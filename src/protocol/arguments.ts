import { PyroError } from "./error.js";
import { LIMITS } from "./limits.js";

/** Text is sent as UTF-8; bytes go as they are. */
export type GuestBytes = string | Uint8Array;

function toBytes(value: GuestBytes): Uint8Array {
  return typeof value === "string" ? Buffer.from(value, "utf8") : value;
}

/**
 * A command line and an environment as the kernel of the guest will take them, checked before anything is sent
 * (execve(2): no NUL, one string below 128 KiB, all of them within a quarter of the stack limit).
 * @throws {PyroError} INVALID_ARGUMENT, ARGUMENT_TOO_LARGE
 */
export function checkCommand(
  argv: readonly GuestBytes[],
  env: readonly GuestBytes[],
): { readonly argv: Uint8Array[]; readonly env: Uint8Array[] } {
  if (argv.length === 0) throw invalid("a command needs at least one argument: the program's name");
  if (argv.length + env.length > LIMITS.argumentCount) {
    throw tooLarge(
      `${argv.length + env.length} arguments and environment entries; at most ${LIMITS.argumentCount} fit`,
    );
  }
  const checked = { argv: argv.map(toBytes), env: env.map(toBytes) };
  if (checked.argv[0]?.length === 0) throw invalid("the program's name is empty");
  let total = 0;
  for (const [index, value] of checked.argv.entries()) total += checkString(value, `argument ${index}`);
  for (const [index, value] of checked.env.entries()) {
    total += checkString(value, `environment entry ${index}`);
    // From index 1 on: a name that begins with "=" is none.
    if (value.indexOf(0x3d, 1) < 1 || value[0] === 0x3d) {
      throw invalid(`environment entry ${index} is not NAME=value: ${shown(value)}`);
    }
  }
  if (total > LIMITS.argumentsTotalBytes) {
    throw tooLarge(`arguments and environment are ${total} bytes; at most ${LIMITS.argumentsTotalBytes} fit`);
  }
  return checked;
}

function checkString(value: Uint8Array, what: string): number {
  if (value.includes(0)) throw invalid(`${what} holds a NUL byte: ${shown(value)}`);
  // The kernel counts the terminating NUL, too.
  if (value.length + 1 > LIMITS.argumentBytes) {
    throw tooLarge(`${what} is ${value.length} bytes; a single one must be below ${LIMITS.argumentBytes}`);
  }
  return value.length + 1;
}

const PATH_BYTES = 4095;

/**
 * An absolute path in the guest.
 * @throws {PyroError} INVALID_ARGUMENT
 */
export function checkPath(path: GuestBytes, what: string): Uint8Array {
  const bytes = toBytes(path);
  if (bytes[0] !== 0x2f) throw invalid(`${what} must be an absolute path in the guest: ${shown(bytes)}`);
  if (bytes.includes(0)) throw invalid(`${what} holds a NUL byte: ${shown(bytes)}`);
  if (bytes.length > PATH_BYTES)
    throw invalid(`${what} is ${bytes.length} bytes; a path has at most ${PATH_BYTES}`);
  return bytes;
}

function shown(value: Uint8Array): string {
  return JSON.stringify(Buffer.from(value.subarray(0, 80)).toString("utf8"));
}

function invalid(message: string): PyroError {
  return new PyroError("INVALID_ARGUMENT", message, { hint: "correct the command and try again" });
}

function tooLarge(message: string): PyroError {
  return new PyroError("ARGUMENT_TOO_LARGE", message, {
    hint: "pass the data on standard input, or in a file, instead of in an argument",
  });
}

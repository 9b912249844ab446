import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { PyroError } from "../protocol/index.js";

/** As `Authorization: Bearer` takes it (RFC 6750), and long enough that nobody guesses it. */
const TOKEN = /^(?=.{32,1024}$)[\w.~+/-]+=*$/;
const FILE_BYTES = 4096;

/**
 * A token that the user made: the one line of a file that nobody else can read.
 * @throws {PyroError} INVALID_ARGUMENT, without anything of what the file holds
 */
export async function tokenOfFile(path: string): Promise<string> {
  const make = `make it anew: \`rm -f ${path}; (umask 077; head -c 32 /dev/urandom | base64 > ${path})\``;
  const bad = (says: string, hint: string): PyroError =>
    new PyroError("INVALID_ARGUMENT", `the token's file ${path} ${says}`, { hint });
  // A pipe that nobody writes to would hold the start up.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    throw bad(code === "ENOENT" ? "is not there" : `cannot be read: ${String(code)}`, make);
  });
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw bad("is no file", make);
    if (stat.uid !== process.getuid?.() && stat.uid !== 0) throw bad("is another user's", make);
    const mode = stat.mode & 0o777;
    if ((mode & 0o077) !== 0)
      throw bad(`can be read or written by others (mode 0${mode.toString(8)})`, `run \`chmod 600 ${path}\``);
    if (stat.size > FILE_BYTES) throw bad(`has ${stat.size} bytes, and at most ${FILE_BYTES} are read`, make);
    const token = (await file.readFile("utf8")).trim();
    if (!TOKEN.test(token))
      throw bad("has no token: one line of 32 to 1024 letters, digits and any of ._~+/-", make);
    return token;
  } finally {
    await file.close();
  }
}

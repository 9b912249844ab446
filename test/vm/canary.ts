import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { expect } from "vitest";

const execute = promisify(execFile);

/** Fresh each time: nothing of this host can hold it by chance. With what URLs and base64 encode. */
export const CANARY = `cn+${randomBytes(12).toString("hex")}/ ?&${randomBytes(12).toString("base64")}`;
/** What of the canary is in a text that holds it, whichever way. */
export const FORMS = [
  CANARY,
  ...["", "a", "ab"].flatMap((before) => {
    const encoded = Buffer.from(before + CANARY).toString("base64");
    const inner = encoded.slice(4, 4 + 4 * Math.floor((encoded.length - 8) / 4));
    return [inner, inner.replaceAll("+", "-").replaceAll("/", "_")];
  }),
  encodeURIComponent(CANARY),
  encodeURIComponent(CANARY).toLowerCase(),
  [...Buffer.from(CANARY)].map((byte) => `%${byte.toString(16).padStart(2, "0").toUpperCase()}`).join(""),
];

/** Names of files that hold it, in any form; grep's error where it has one. */
export async function filesWith(
  directory: string,
  excluded: readonly string[],
  forms: readonly string[] = FORMS,
): Promise<string> {
  const patterns = forms.flatMap((form) => ["-e", form]);
  const names = excluded.map((name) => `--exclude=${name}`);
  // Images are those of the environment, made before and read-only.
  const args = ["-rlF", "--exclude-dir=images", "--devices=skip", ...names, ...patterns, directory];
  return await execute("grep", args, { env: { ...process.env, LC_ALL: "C" } }).then(
    ({ stdout }) => stdout,
    // 1: nothing found.
    (error: unknown) => {
      const { code, stdout, stderr } = error as { code?: number; stdout?: string; stderr?: string };
      return code === 1 ? "" : `${stdout ?? ""}${stderr ?? ""}`;
    },
  );
}

/** Of the state directory every file but those that hold secrets by design; of the host every process. */
export async function expectNowhere(stateDir: string, excluded: readonly string[]): Promise<void> {
  expect(await filesWith(stateDir, ["secrets.json", ...excluded])).toBe("");
  // The search itself has ended; whoever else lives must not have it in sight.
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    for (const what of ["cmdline", "environ"]) {
      const text = await readFile(`/proc/${pid}/${what}`, "latin1").catch(() => "");
      for (const form of FORMS) expect(text.includes(form), `${what} of ${pid}`).toBe(false);
    }
  }
}

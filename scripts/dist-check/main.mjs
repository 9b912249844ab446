#!/usr/bin/env node
// `make dist-check`: packs, and does with the tarball what a user does, from `npm install -g` to `npm uninstall -g`: as an
// ordinary user made for it and as root, each with an empty home and only the system's PATH. Run without root: as who
// runs it. What they type and see is printed, with the seconds that each command took. `ordinary` or `root` as arguments:
// that journey alone.
import { accessSync, chmodSync, constants, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { run, stage, Wrong } from "./run.mjs";
import { checkTarball } from "./tarball.mjs";
import { checkTypes } from "./types.mjs";
import { ordinaryUser, rootUser, thisUser } from "./users.mjs";

const repository = fileURLToPath(new URL("../..", import.meta.url));

async function main(scratch) {
  stage("npm pack");
  run("npm", ["pack", "--silent", "--pack-destination", scratch], { cwd: repository });
  const tarball = checkTarball(scratch, repository);
  stage("programs in TypeScript against the installed package");
  checkTypes(tarball, join(scratch, "types"), repository);

  // One file that needs nothing of this checkout, which another user may not read.
  const journey = join(scratch, "journey.mjs");
  await build({
    ...{ entryPoints: [join(repository, "scripts/dist-check/journey.mjs")], outfile: journey, bundle: true },
    ...{ format: "esm", platform: "node", target: "node20", logLevel: "warning" },
    // CommonJS within asks for Node's own modules.
    banner: {
      js: 'import { createRequire } from "node:module";const require = createRequire(import.meta.url);',
    },
  });
  const claude = claudeCode();
  const makers = process.getuid() === 0 ? { ordinary: ordinaryUser, root: rootUser } : { own: thisUser };
  const wanted = process.argv.slice(2);
  for (const [name, make] of Object.entries(makers)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const user = make(join(scratch, name));
    try {
      stage(`the journey of ${user.label}`);
      user.run(process.execPath, [journey, tarball, claude ?? ""]);
      user.proveGone();
    } finally {
      user.remove();
    }
  }
  stage("all is as it should be");
}

/** The program of Claude Code that the tests have installed, or this host has. */
function claudeCode() {
  const places = [join(repository, "test/hosts/node_modules/.bin"), ...(process.env.PATH ?? "").split(":")];
  for (const place of places) {
    try {
      const path = realpathSync(join(place, "claude"));
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here.
    }
  }
  return undefined;
}

// Not in /tmp: journeys have one of their own.
const scratch = mkdtempSync("/var/tmp/pyro-dist-check-");
// Below it an ordinary user works too.
chmodSync(scratch, 0o755);
try {
  await main(scratch);
} catch (error) {
  if (!(error instanceof Wrong)) throw error;
  process.stderr.write(`dist-check: ${error.message}\n`);
  process.exitCode = 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

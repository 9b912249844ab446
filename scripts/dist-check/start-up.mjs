import { spawnSync } from "node:child_process";

const ROUNDS = 15;
/** What a command should take at most before it does anything, above a bare Node, on a machine that does nothing else. */
const WANTED_MS = 100;

/** The start of the command beside that of a bare Node, the quickest of some each: other load only adds. */
export function measureStart(pyro) {
  const best = { bare: Infinity, command: Infinity };
  const time = (args) => {
    const started = performance.now();
    spawnSync(process.execPath, args);
    return performance.now() - started;
  };
  for (let i = 0; i < ROUNDS; i += 1) {
    best.bare = Math.min(best.bare, time(["-e", "0"]));
    best.command = Math.min(best.command, time([pyro, "--version"]));
  }
  const [bare, command] = [best.bare, best.command].map(Math.round);
  const above = command - bare;
  return `start: bare node ${bare} ms, pyro --version ${command} ms: ${above} ms above (at most ${WANTED_MS} are wanted)`;
}

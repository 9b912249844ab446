// What one user does with a tarball of pyro, in an empty home: install, the main job on the command line, in a chat host,
// through MCP and in programs, uninstall. Run by main.mjs as that user: `node journey.mjs TARBALL [CLAUDE]`.
import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { overMcp } from "./over-mcp.mjs";
import { others } from "./processes.mjs";
import { reproFix } from "./repro-fix.mjs";
import { must, Wrong } from "./run.mjs";
import { measureStart } from "./start-up.mjs";

process.on("uncaughtException", (error) => {
  console.error(error instanceof Wrong ? error.message : error);
  process.exit(1);
});

const [tarball, claude] = process.argv.slice(2);
const home = homedir();
const prefix = join(home, ".local");
const root = process.getuid() === 0;
const state = root ? "/var/lib/pyro" : join(home, ".local/state/pyro");
const cache = root ? "/var/cache/pyro" : join(home, ".cache/pyro");
const OFFLINE = ["--offline", "--no-audit", "--no-fund", "--no-update-notifier"];
process.env.PATH = `${join(prefix, "bin")}:${process.env.PATH}`;

/** Runs what the user types, shows it with what they see and the seconds it took, and gives standard output. */
function type(program, args, { shown = [program, ...args].join(" "), quiet = false, ...options } = {}) {
  const started = performance.now();
  const { status, signal, error, stdout, stderr } = spawnSync(program, args, {
    encoding: "utf8",
    ...options,
  });
  if (error !== undefined) throw error;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const seen = quiet ? "" : `${stderr}${stdout}`.replaceAll(home, "~");
  process.stdout.write(`\n$ ${shown}   # ${seconds} s\n${seen}`);
  must(status === 0, `${shown} ended with ${signal ?? status}: ${stderr}${quiet ? stdout : ""}`);
  return stdout;
}

must(readdirSync(home).length === 0, `the home is not empty: ${readdirSync(home).join(", ")}`);

// Installed: nothing is fetched, and what was packed may be read and run.
type("npm", ["install", "-g", "--prefix", prefix, ...OFFLINE, tarball], {
  shown: "npm install -g --prefix ~/.local pyro-mcp-*.tgz",
});
const installed = join(prefix, "lib/node_modules/pyro-mcp");
for (const path of readdirSync(installed, { recursive: true }).map((name) => join(installed, name))) {
  const { mode, uid } = lstatSync(path);
  const runs = lstatSync(path).isDirectory() || /\/bin\/pyro$|\/pyro-hold$/.test(path);
  const wanted = (runs ? 0o755 : 0o644) & ~process.umask();
  must(
    (mode & 0o7777) === wanted && uid === process.getuid(),
    `${path} has the mode ${(mode & 0o7777).toString(8)}`,
  );
}

// The main job.
must(/^\d+\.\d+\.\d+\n$/.test(type("pyro", ["--version"])), "that is no version");
process.stdout.write(`\n${measureStart(join(prefix, "bin/pyro"))}\n`);
type("pyro", ["doctor"]);
type("pyro", ["env", "pull", "debian:12"]);
for (let i = 0; i < 2; i += 1)
  must(type("pyro", ["run", "debian:12", "--", "git", "--version"]).startsWith("git version "), "no git");
const project = join(home, "project");
mkdirSync(project);
writeFileSync(join(project, "sum.py"), "print(sum(range(10)))\n");
const inProject = { cwd: project };
type("pyro", ["workspace", "create", "debian:12", "--seed-path", ".", "--name", "first"], inProject);
must(type("pyro", ["workspace", "exec", "first", "--", "python3", "sum.py"]) === "45\n", "python is no good");
type("pyro", ["workspace", "delete", "first"]);

// In a chat host.
if (claude !== undefined && claude !== "" && existsSync(claude)) {
  mkdirSync(join(prefix, "bin"), { recursive: true });
  symlinkSync(claude, join(prefix, "bin/claude"));
  type("pyro", ["host", "connect", "claude-code"]);
  type("pyro", ["host", "doctor", "claude-code"]);
  const began = performance.now();
  const done = await reproFix(join(home, "parity"));
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  process.stdout.write(
    `\n$ claude -p "Please make the failing test of this repository pass …"   # ${seconds} s\n${done}\n`,
  );
  type("claude", ["mcp", "remove", "pyro"]);
  rmSync(join(prefix, "bin/claude"));
} else {
  process.stdout.write("\nClaude Code is not on this host: `pyro host connect claude-code` was not tried\n");
}
process.stdout.write(`\n${await overMcp("pyro", project)}\n`);

// In programs: an ES module and CommonJS.
writeFileSync(join(project, "package.json"), '{"private":true}\n');
type("npm", ["install", ...OFFLINE, tarball], { ...inProject, shown: "npm install pyro-mcp-*.tgz" });
const body = `
async function main() {
  const pyro = new Pyro();
  const { stdout, exitCode } = await pyro.runInVm({ environment: "debian:12", argv: ["uname", "-s"] });
  if (stdout !== "Linux\\n" || exitCode !== 0) throw new Error(JSON.stringify({ stdout, exitCode }));
  console.log(stdout.trim());
  await pyro[Symbol.asyncDispose]();
}
main();
`;
writeFileSync(join(project, "module.mjs"), `import { Pyro } from "pyro-mcp";\n${body}`);
writeFileSync(join(project, "common.cjs"), `const { Pyro } = require("pyro-mcp");\n${body}`);
for (const file of ["module.mjs", "common.cjs"]) type("node", [file], inProject);

// Uninstalled, as README.md says it.
type("pyro", ["daemon", "stop", "--force"]);
type("npm", ["uninstall", "-g", "--prefix", prefix, ...OFFLINE, "pyro-mcp"], {
  shown: "npm uninstall -g --prefix ~/.local pyro-mcp",
});
rmSync(project, { recursive: true });
const running = others(home);
must(running.length === 0, `still running after the uninstall:\n${running.join("\n")}`);
const temporary =
  process.env.ALONE === undefined ? [] : ["/tmp", "/dev/shm"].flatMap((place) => readdirSync(place));
const strange = temporary.filter((name) => !/claude|cc-socks|node-compile-cache/.test(name));
must(strange.length === 0, `left in /tmp or /dev/shm: ${strange.join(", ")}`);
const ours = [state, cache, join(home, ".config/pyro")];
const kept = ours.filter((place) => existsSync(place)).map((place) => place.replace(home, "~"));
process.stdout.write(`\nwhat npm leaves: ${kept.join(", ")}\n`);
for (const place of ours) {
  // Root's places are mounted here: they are emptied.
  const entries = root ? (existsSync(place) ? readdirSync(place) : []) : [""];
  for (const entry of entries) rmSync(join(place, entry), { recursive: true, force: true });
}
const files = readdirSync(home, { recursive: true, withFileTypes: true })
  .filter((entry) => !entry.isDirectory())
  .map((entry) => join(entry.parentPath, entry.name).slice(home.length + 1))
  .filter((path) => !/^\.npm\/|claude/.test(path));
must(files.length === 0, `left in the home: ${files.join(", ")}`);

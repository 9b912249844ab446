import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { must, run } from "./run.mjs";

const PROGRAM = `
await using pyro = new Pyro();
const result = await pyro.runInVm({ environment: "debian:12", argv: ["uname", "-r"] });
const status: number | null = result.exitCode;
const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12" });
for await (const event of pyro.streamWorkspaceExec({ workspaceId, argv: ["true"] })) console.log(event.type);
const server: PyroMcpServer = createServer({ profile: "vm-run" });
try {
  await server.serveStdio();
} catch (error) {
  if (error instanceof PyroError) console.log(error.code, error.hint, status);
}
// @ts-expect-error: an argv is a list
void pyro.runInVm({ environment: "debian:12", argv: "true" });
`;

/**
 * A strict program compiles against the installed package, its declarations checked too (no skipLibCheck), with nothing
 * else installed but Node's types: as an ES module, as CommonJS, and as bundlers resolve it.
 */
export function checkTypes(tarball, directory, repository) {
  mkdirSync(join(directory, "node_modules/@types"), { recursive: true });
  writeFileSync(join(directory, "package.json"), '{"private":true}\n');
  const quiet = ["--offline", "--no-audit", "--no-fund", "--no-update-notifier"];
  run("npm", ["install", ...quiet, "--cache", join(directory, "cache"), tarball], { cwd: directory });
  // Node's types refer to the next one.
  for (const name of ["@types/node", "undici-types"])
    symlinkSync(join(repository, "node_modules", name), join(directory, "node_modules", name));
  const names = "{ createServer, Pyro, PyroError, type PyroMcpServer }";
  writeFileSync(join(directory, "module.mts"), `import ${names} from "pyro-mcp";\n${PROGRAM}`);
  const wrapped = `import ${names} from "pyro-mcp";\nexport async function main() {${PROGRAM}}\n`;
  writeFileSync(join(directory, "common.cts"), wrapped);
  for (const [module, moduleResolution, files] of [
    ["nodenext", "nodenext", ["module.mts", "common.cts"]],
    ["esnext", "bundler", ["module.mts"]],
  ]) {
    const compilerOptions = {
      ...{ target: "es2023", lib: ["es2023", "esnext.disposable"], module, moduleResolution },
      ...{
        strict: true,
        exactOptionalPropertyTypes: true,
        noEmit: true,
        skipLibCheck: false,
        types: ["node"],
      },
    };
    writeFileSync(join(directory, "tsconfig.json"), JSON.stringify({ compilerOptions, files }));
    run(process.execPath, [join(repository, "node_modules/typescript/bin/tsc"), "-p", directory]);
  }
  checkIntegrations(directory, repository);
}

/**
 * The declarations of each integration hold beside its framework. Frameworks have declarations that fail under strict
 * settings: only what is said of our files counts.
 */
function checkIntegrations(directory, repository) {
  const described = JSON.parse(readFileSync(join(repository, "package.json"), "utf8"));
  for (const name of Object.keys(described.peerDependencies)) {
    mkdirSync(dirname(join(directory, "node_modules", name)), { recursive: true });
    symlinkSync(frameworkOf(repository, name), join(directory, "node_modules", name));
  }
  const names = Object.keys(described.exports).filter((name) => !/^\.$|\.json$/.test(name));
  const imports = names.map((name, index) => `export * as i${index} from "pyro-mcp/${name.slice(2)}";\n`);
  writeFileSync(join(directory, "integrations.mts"), imports.join(""));
  const compilerOptions = {
    ...{ target: "es2023", lib: ["es2023", "esnext.disposable", "dom"], module: "nodenext", types: ["node"] },
    ...{ strict: true, noEmit: true, skipLibCheck: false },
  };
  writeFileSync(
    join(directory, "tsconfig.json"),
    JSON.stringify({ compilerOptions, files: ["integrations.mts"] }),
  );
  const tsc = join(repository, "node_modules/typescript/bin/tsc");
  const { stdout } = spawnSync(process.execPath, [tsc, "-p", directory], {
    cwd: directory,
    encoding: "utf8",
  });
  const ours = stdout
    .split("\n")
    .filter((line) => /^(integrations\.mts|node_modules\/pyro-mcp\/)/.test(line));
  must(ours.length === 0, `the declarations of integrations do not hold:\n${ours.join("\n")}`);
}

/** Where a framework stands: among the packages of the project, or among those that want a newer Node. */
function frameworkOf(repository, name) {
  const own = join(repository, "node_modules", name);
  if (existsSync(own)) return own;
  const cwd = join(repository, "test/frameworks");
  const other = join(cwd, "node_modules", name);
  const quiet = ["--omit=optional", "--engine-strict=false", "--no-audit", "--no-fund", "--loglevel=error"];
  if (!existsSync(other)) run("npm", ["ci", ...quiet], { cwd });
  return other;
}

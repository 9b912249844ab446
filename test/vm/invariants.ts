import { spawnSync } from "node:child_process";
import { readdir, readFile, readlink, stat } from "node:fs/promises";
import { join } from "node:path";
import { leftovers } from "./support.js";

/**
 * What is wrong with a state directory whose daemon has left; empty where nothing is. No process of it, nor one that
 * has a file of it open; no machine's directory, socket, temporary file; no lock that is held; every template and
 * image whole and recorded, and nothing beside them; nothing in the host's tmpfs.
 */
export async function violations(stateDir: string): Promise<string[]> {
  const cache = join(stateDir, "cache");
  return [
    ...(await leftovers(stateDir)),
    ...(await openFiles(stateDir)),
    ...(await heldLocks(stateDir)),
    ...(await templateFaults(join(cache, "templates"))),
    ...(await imageFaults(cache)),
    ...(await buildFaults(join(cache, "builds"))),
    ...(await sharedMemory()),
  ];
}

/** Every layer of a build has its record and every record its layer; nobody's place is left. */
async function buildFaults(directory: string): Promise<string[]> {
  const names = await entries(join(directory, "layers"));
  const faults = (await entries(join(directory, "work"))).map((name) => `the place of a build: ${name}`);
  const files = new Set<string>();
  for (const name of names.filter((each) => each.endsWith(".json"))) {
    const record = JSON.parse(await readFile(join(directory, "layers", name), "utf8")) as { file: string };
    files.add(record.file);
    if (!names.includes(record.file)) faults.push(`a layer's record without its file: ${name}`);
  }
  const other = names.filter((name) => !name.endsWith(".json") && !files.has(name));
  return [...faults, ...other.map((name) => `among the layers of builds: ${name}`)];
}

async function entries(path: string): Promise<string[]> {
  return await readdir(path).catch(() => []);
}

/** Processes that hold a file of the directory, whatever they are called. */
async function openFiles(directory: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await entries("/proc")).filter(
    (name) => /^\d+$/.test(name) && name !== `${process.pid}`,
  )) {
    for (const fd of await entries(`/proc/${pid}/fd`)) {
      const path = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => "");
      if (path.startsWith(`${directory}/`)) found.push(`process ${pid} holds ${path}`);
    }
  }
  return found;
}

/** flock(1) takes each lock for a moment, or says that somebody has it. */
async function heldLocks(directory: string): Promise<string[]> {
  const all = await readdir(directory, { recursive: true }).catch(() => []);
  const locks = all.filter((name) => /(^|[/.])lock$/.test(name)).map((name) => join(directory, name));
  return locks
    .filter((path) => spawnSync("flock", ["--exclusive", "--nonblock", path, "true"]).status !== 0)
    .map((path) => `lock ${path} is held`);
}

/** One directory per template, named by its key, with all that its manifest says; beside them only the lock. */
async function templateFaults(directory: string): Promise<string[]> {
  const faults: string[] = [];
  for (const name of await entries(directory)) {
    if (name === "lock") continue;
    const path = join(directory, name);
    const files = (await entries(path)).sort().join(" ");
    const isWhole = files === "manifest.json memory state" || files === "layer manifest.json memory state";
    if (!/^[0-9a-f]{64}$/.test(name) || !isWhole) {
      faults.push(`in the templates' directory: ${name} with ${files || "nothing"}`);
      continue;
    }
    const manifest = JSON.parse(await readFile(join(path, "manifest.json"), "utf8")) as Record<
      string,
      unknown
    >;
    if (manifest["key"] !== name) faults.push(`template ${name} has another's manifest`);
    const hasLayer = files.startsWith("layer");
    if (hasLayer !== (manifest["layer"] !== undefined)) faults.push(`template ${name} lacks its layer`);
    for (const file of ["memory", "state", ...(hasLayer ? ["layer"] : [])]) {
      const { size, mode } = await stat(join(path, file));
      const { size_bytes } = manifest[file] as { size_bytes: number };
      if (size !== size_bytes) faults.push(`template ${name}: ${file} has ${size} bytes of ${size_bytes}`);
      if ((mode & 0o777) !== 0o400) faults.push(`template ${name}: ${file} can be changed`);
    }
  }
  return faults;
}

/** Every image has a manifest, and every manifest its image. */
async function imageFaults(cache: string): Promise<string[]> {
  const images = new Set(await entries(join(cache, "images")));
  const faults: string[] = [];
  const used = new Set<string>();
  for (const name of await entries(join(cache, "environments"))) {
    const text = await readFile(join(cache, "environments", name), "utf8");
    const { digest } = JSON.parse(text) as { digest: string };
    const image = `${digest.replace(":", "-")}.qcow2`;
    used.add(image);
    if (!images.has(image)) faults.push(`${name} names an image that is not there`);
  }
  for (const image of images) if (!used.has(image)) faults.push(`image ${image} belongs to no environment`);
  return faults;
}

async function sharedMemory(): Promise<string[]> {
  return (await entries("/dev/shm"))
    .filter((name) => /pyro|qemu/i.test(name))
    .map((name) => `/dev/shm/${name}`);
}

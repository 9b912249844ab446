import { readFileSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { BuildError, run } from "./progress.mjs";

/**
 * What the guest needs, by group. Dependencies come by themselves. A name that the kernel has built in is skipped. The
 * network needs none: what leads connections to the agent is in the kernel itself (guest/internal/network).
 */
const GROUPS = {
  // Loaded by the agent before anything else: disks, the agent's port, entropy, the root file system.
  boot: ["virtio_pci", "virtio_console", "virtio_blk", "virtio_rng", "ext4", "crc32c_generic"],
};

/**
 * The files of each group in an order that insmod can follow: each after what it depends on. A module stands in one
 * group only, the earlier one. The package has no modules.dep (its postinst makes it), so the dependencies are read
 * where depmod reads them: the .modinfo of each module.
 * @returns {{lists: Record<string, string[]>, files: Map<string, Buffer>}} file names without directory, and contents
 */
export function selectModules(modulesDirectory) {
  const available = new Map();
  for (const entry of readdirSync(join(modulesDirectory, "kernel"), { recursive: true })) {
    const match = /^(.*)\.ko(?:\.(?:xz|gz|zst))?$/.exec(basename(entry));
    if (match !== null) available.set(canonical(match[1]), join(modulesDirectory, "kernel", entry));
  }
  const builtIn = new Set(
    readFileSync(join(modulesDirectory, "modules.builtin"), "utf8")
      .split("\n")
      .map((line) => canonical(basename(line, ".ko"))),
  );
  const files = new Map();
  const placed = new Set();
  const lists = {};
  for (const [group, names] of Object.entries(GROUPS)) {
    const order = [];
    const place = (name, chain) => {
      if (placed.has(name) || builtIn.has(name)) return;
      const path = available.get(name);
      if (path === undefined)
        throw new BuildError(
          `the kernel has no module ${[...chain, name].join(" → ")}`,
          "name another in runtime/build/modules.mjs",
        );
      if (chain.includes(name))
        throw new BuildError(`modules depend on each other: ${[...chain, name].join(" → ")}`, "");
      const content = inflate(path);
      const file = `${name}.ko`;
      for (const dependency of dependencies(content)) place(canonical(dependency), [...chain, name]);
      placed.add(name);
      files.set(file, content);
      order.push(file);
    };
    for (const name of names) place(canonical(name), []);
    lists[group] = order;
  }
  return { lists, files };
}

/** "-" and "_" are one in module names. */
function canonical(name) {
  return name.replaceAll("-", "_");
}

/** insmod takes plain ELF only where the kernel lacks CONFIG_MODULE_DECOMPRESS; so they are stored plain. */
function inflate(path) {
  if (path.endsWith(".xz")) return run("xz", ["-dc", path], { hint: "sudo apt-get install -y xz-utils" });
  if (path.endsWith(".zst")) return run("zstd", ["-dcq", path]);
  const bytes = readFileSync(path);
  return path.endsWith(".gz") ? gunzipSync(bytes) : bytes;
}

/** `depends=` and `softdep=pre:` of the .modinfo section of an ELF64 little-endian module. */
export function dependencies(elf) {
  const found = [];
  for (const line of modinfo(elf)) {
    if (line.startsWith("depends=")) found.push(...line.slice("depends=".length).split(",").filter(Boolean));
    const soft = /^softdep=.*?pre:\s*(.*?)(?:\s+post:.*)?$/.exec(line);
    // A soft dependency names a role, such as "crc32c"; the generic software version is the one every CPU has.
    if (soft !== null)
      found.push(...soft[1].split(/\s+/).map((name) => (name === "crc32c" ? "crc32c_generic" : name)));
  }
  return found;
}

function modinfo(elf) {
  const sectionTable = Number(elf.readBigUInt64LE(0x28));
  const entrySize = elf.readUInt16LE(0x3a);
  const count = elf.readUInt16LE(0x3c);
  const section = (index) => {
    const at = sectionTable + index * entrySize;
    return {
      name: elf.readUInt32LE(at),
      offset: Number(elf.readBigUInt64LE(at + 0x18)),
      size: Number(elf.readBigUInt64LE(at + 0x20)),
    };
  };
  const names = section(elf.readUInt16LE(0x3e));
  for (let index = 0; index < count; index += 1) {
    const { name, offset, size } = section(index);
    const start = names.offset + name;
    if (elf.toString("latin1", start, elf.indexOf(0, start)) === ".modinfo")
      return elf.toString("latin1", offset, offset + size).split("\0");
  }
  return [];
}

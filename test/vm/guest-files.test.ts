import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  commitFiles,
  connectGuest,
  downloadFile,
  editFile,
  extractTar,
  holdWrites,
  listChanges,
  listFiles,
  packTar,
  uploadFile,
  type GuestConnection,
} from "../../src/guest/index.js";
import { Slots } from "../../src/kit/index.js";
import {
  bootMachine,
  locateRuntimeBundle,
  QemuDriver,
  type Disk,
  type Machine,
} from "../../src/vmm/index.js";
import { MachineDirectory } from "../fakes/stub-qemu.js";

const directory = new MachineDirectory();
const driver = new QemuDriver({ bundle: () => locateRuntimeBundle() });
const slots = new Slots(1);
const within = "/workspace";
const DISK_MIB = 512;
const FILES = 10_000;

interface Guest {
  readonly machine: Machine;
  readonly connection: GuestConnection;
  end(): Promise<void>;
}

/** A machine with these disks, the first of them its root. */
async function boot(disks: readonly Disk[]): Promise<Guest> {
  const spec = directory.spec({ memMib: 512, disks });
  const booted = await bootMachine(
    driver,
    spec,
    ({ agentSocket }, signal) => connectGuest(agentSocket, { signal }),
    { slots },
  );
  const { machine, hello: connection } = booted;
  await connection.system.mountRoot({ device: "/dev/vda", filesystem: "ext4", createWorkspace: true });
  const end = async (): Promise<void> => {
    await connection[Symbol.asyncDispose]();
    await machine.kill();
  };
  return { machine, connection, end };
}

function overlay(name: string): string {
  const path = join(directory.path, name);
  execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", path, `${DISK_MIB}M`]);
  return path;
}

/** A tar of many small files, as a project has them. */
function project(): Buffer {
  const path = mkdtempSync(join(tmpdir(), "pyro-project-"));
  try {
    for (let index = 0; index < FILES; index++) {
      const parent = join(path, `package-${index % 100}`, "lib");
      if (index < 100) mkdirSync(parent, { recursive: true });
      writeFileSync(join(parent, `module-${index}.js`), `export const value = ${index};\n`);
    }
    return execFileSync("tar", ["-cf", "-", "-C", path, "."], { maxBuffer: 256 * 1024 * 1024 });
  } finally {
    rmSync(path, { recursive: true });
  }
}

const figures: string[] = [];

async function timed<T>(what: string, work: Promise<T>): Promise<T> {
  const begin = performance.now();
  const result = await work;
  figures.push(`${what}: ${Math.round(performance.now() - begin)} ms`);
  return result;
}

async function collect(data: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of data) parts.push(part);
  return Buffer.concat(parts);
}

const nameOf = (index: number): string => `package-${index % 100}/lib/module-${index}.js`;

describe("A machine with its baseline as the second disk", () => {
  let guest: Guest;
  const baseline = join(directory.path, "baseline.raw");

  beforeAll(async () => {
    const empty = directory.file("empty.raw");
    execFileSync("truncate", ["-s", `${DISK_MIB}M`, empty]);
    execFileSync("mkfs.ext4", ["-q", "-F", empty]);
    const disk = overlay("seed.qcow2");
    const backing = { path: empty, format: "raw" } as const;
    const seeding = await boot([{ path: disk, format: "qcow2", readOnly: false, backing }]);
    try {
      const tar = project();
      await timed(
        `seed of ${FILES} files`,
        extractTar(seeding.connection, within, Readable.from([tar]), { within }),
      );
      await using held = await timed("hold", holdWrites(seeding.connection, 20_000));
      // What a host would do with a layer of its own: the disk as it is at this moment, without its machine's help.
      execFileSync("qemu-img", [
        "convert",
        "-U",
        "-O",
        "raw",
        "--image-opts",
        `driver=qcow2,file.filename=${disk},backing.driver=raw,backing.file.filename=${empty}`,
        baseline,
      ]);
      expect(await timed("let go", held.letGo())).toBe(true);
    } finally {
      await seeding.end();
    }
    guest = await boot([
      {
        path: overlay("work.qcow2"),
        format: "qcow2",
        readOnly: false,
        backing: { path: baseline, format: "raw" },
      },
      { path: baseline, format: "raw", readOnly: true },
    ]);
  }, 240_000);

  afterAll(async () => {
    await guest.end();
    directory[Symbol.dispose]();
    process.stderr.write(`${figures.join("\n")}\n`);
  });

  it("has a baseline that needed no repair, and no changes at first", async () => {
    const found = await timed("changes, none, disks cold", listChanges(guest.connection, within));
    expect(found).toMatchObject({ changes: [], isTruncated: false });
    expect(found.examined).toBeGreaterThanOrEqual(FILES);
    expect(guest.connection.hello.capabilities).toContain("workspace");
  });

  it("tells twenty changes among ten thousand files", async () => {
    const { connection } = guest;
    const first = nameOf(0);
    const content = await collect((await downloadFile(connection, `${within}/${first}`, { within })).data);
    expect(content.toString()).toBe("export const value = 0;\n");
    await editFile(connection, `${within}/${first}`, { within, oldText: "value = 0", newText: "value = 00" });
    const expectSha256 = createHash("sha256").update("export const value = 1;\n").digest();
    await timed(
      "commit of 19 steps",
      commitFiles(
        connection,
        [
          { kind: "write", path: `${within}/${nameOf(1)}`, content: Buffer.from("one\n"), expectSha256 },
          { kind: "delete", path: `${within}/${nameOf(2)}` },
          { kind: "mode", path: `${within}/${nameOf(3)}`, mode: 0o755 },
          ...Array.from({ length: 16 }, (_, at) => ({
            kind: "write" as const,
            path: `${within}/new/file-${at + 10}`,
            content: Buffer.alloc(1000, at),
          })),
        ],
        { within },
      ),
    );
    const found = await timed("changes, 20 of 10,000", listChanges(connection, within));
    const names = found.changes.map(({ path }) => Buffer.from(path).toString());
    expect(names.filter((name) => !name.startsWith("new/"))).toEqual(["new", ...[0, 1, 2, 3].map(nameOf)]);
    expect(found.changes).toHaveLength(21);
    const edited = found.changes.find(({ path }) => Buffer.from(path).toString() === first);
    expect(
      Buffer.from(edited?.beforeSha256 ?? []).equals(createHash("sha256").update(content).digest()),
    ).toBe(true);
    const before = await downloadFile(connection, `${within}/${first}`, { within, tree: "baseline" });
    expect((await collect(before.data)).equals(content)).toBe(true);
    const part = await timed(
      "changes below one directory",
      listChanges(connection, within, { below: "package-3" }),
    );
    expect(part.changes).toMatchObject([{ isModeOnly: true }]);
    await timed("changes again", listChanges(connection, within));
  });

  it("lists and packs what is there", async () => {
    const { connection } = guest;
    const listed = await timed("list of all", listFiles(connection, within, { within, recursive: true }));
    expect(listed.entries.length).toBeGreaterThan(FILES);
    const tar = await packTar(connection, within, { within });
    const archive = await timed("tar of 10,000 small files", collect(tar.data));
    await timed(
      "the same again",
      packTar(connection, within, { within }).then(({ data }) => collect(data)),
    );
    const names = execFileSync("tar", ["-tf", "-"], {
      input: archive,
      maxBuffer: 64 * 1024 * 1024,
    }).toString();
    expect(names.split("\n")).toContain(nameOf(17));
    expect(tar.leftOut).toBe(0);
    const large = Buffer.alloc(64 * 1024 * 1024, "0123456789");
    await timed(
      "write of 64 MiB",
      uploadFile(connection, `${within}/large`, Readable.from([large]), { within }),
    );
    const packed = await packTar(connection, `${within}/large`, { within });
    expect((await timed("tar of one file of 64 MiB", collect(packed.data))).length).toBeGreaterThan(
      large.length,
    );
  });

  it("keeps its baseline from root, and lets writes go on by itself", async () => {
    const { connection } = guest;
    const held = await holdWrites(connection, 300);
    // Waits for the end of the hold, and is whole then.
    await uploadFile(connection, `${within}/late`, Readable.from([Buffer.from("late")]), { within });
    expect(await held.letGo()).toBe(false);
    const found = await listChanges(connection, within, { below: "late" });
    expect(found.changes).toHaveLength(1);
    await expect(downloadFile(connection, "/dev/vdb", {})).rejects.toMatchObject({
      code: "GUEST_FILE_REFUSED",
    });
  });
});

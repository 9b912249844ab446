import { mkdtempSync, rmSync, writeFileSync, chmodSync } from "node:fs";
import { join } from "node:path";
import { tmpdir } from "node:os";
import { describe, expect, it } from "vitest";
import { complete } from "../../../src/kit/index.js";
import {
  confined,
  CONTAINER_IDS,
  kvmGroup,
  MACHINE_IDS,
  machineUser,
  usableIds,
  userFor,
} from "../../../src/vmm/qemu/privileges.js";

const limits = { openFiles: 512, fileBytes: 1000 };

describe("QEMU's confinement", () => {
  it("drops to a user without groups", () => {
    expect(confined(["qemu", "-x"], { ...limits, userId: 7, kvmGroupId: undefined }).join(" ")).toBe(
      "prlimit --core=0 --nofile=512 --fsize=1000 -- setpriv --reuid=7 --regid=7 --clear-groups --no-new-privs -- qemu -x",
    );
  });

  it("keeps only the group of /dev/kvm where that is needed", () => {
    expect(confined(["qemu"], { ...limits, userId: 7, kvmGroupId: 108 })).toContain("--groups=108");
  });

  it("forbids an ordinary user's QEMU to gain privileges", () => {
    const command = confined(["qemu"], { ...limits, userId: undefined, kvmGroupId: 108 });
    expect(command.slice(command.indexOf("setpriv"))).toEqual(["setpriv", "--no-new-privs", "--", "qemu"]);
  });

  it("really holds for what it starts", async () => {
    const [program, ...args] = confined(["/bin/cat", "/proc/self/limits", "/proc/self/status"], {
      ...limits,
      userId: await userFor("vm-0011223344556677"),
      kvmGroupId: undefined,
    });
    const { stdout } = await complete(program, args);
    expect(stdout).toMatch(/Max core file size\s+0\s+0/);
    expect(stdout).toMatch(/Max file size\s+1000\s+1000/);
    expect(stdout).toMatch(/Max open files\s+512\s+512/);
    expect(stdout).toMatch(/NoNewPrivs:\s+1/);
    if (process.getuid?.() === 0) expect(stdout).toMatch(/CapEff:\s+0000000000000000/);
  });
});

describe("The user of a machine", () => {
  it("comes from its id alone", () => {
    expect(machineUser("vm-0000000000000005", MACHINE_IDS)).toBe(MACHINE_IDS.first + 5);
    expect(machineUser("vm-ffffffffffffffff", MACHINE_IDS)).toBe(MACHINE_IDS.first + MACHINE_IDS.count - 1);
  });

  it("is in the range whatever the id", () => {
    for (const id of ["", "x", "vm", "vm-zz", "ÿ".repeat(50)]) {
      const user = machineUser(`${id}!`, CONTAINER_IDS);
      expect(user).toBeGreaterThanOrEqual(CONTAINER_IDS.first);
      expect(user).toBeLessThan(CONTAINER_IDS.first + CONTAINER_IDS.count);
    }
  });

  it("comes from a range that the user namespace maps", () => {
    expect(usableIds("         0          0 4294967295\n")).toBe(MACHINE_IDS);
    expect(usableIds("         0     100000      65536\n")).toBe(CONTAINER_IDS);
    expect(usableIds("         0       1000          1\n")).toBeUndefined();
    expect(usableIds("")).toBeUndefined();
  });
});

describe("The group of /dev/kvm", () => {
  it("is asked for only where the device lets its group in", async () => {
    const directory = mkdtempSync(join(tmpdir(), "pyro-kvm-"));
    const device = join(directory, "kvm");
    writeFileSync(device, "");
    try {
      chmodSync(device, 0o660);
      expect(await kvmGroup("kvm", device)).toBe(process.getgid?.());
      chmodSync(device, 0o600);
      expect(await kvmGroup("kvm", device)).toBeUndefined();
      expect(await kvmGroup("kvm", join(directory, "none"))).toBeUndefined();
      expect(await kvmGroup("software", device)).toBeUndefined();
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

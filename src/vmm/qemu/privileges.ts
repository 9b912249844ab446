import { readFile, stat } from "node:fs/promises";
import type { Isolation } from "../driver.js";

/**
 * Who QEMU runs as. Privileges are dropped before it starts, by util-linux (QEMU's own `-runas` dies of its own
 * seccomp filter). As root every machine gets a user id of its own, so that one that breaks out of its VM can read
 * neither another machine's disks nor the host's files; as an ordinary user QEMU keeps that user, without the means to
 * gain more.
 */

/** A range of user ids. */
export interface IdRange {
  readonly first: number;
  readonly count: number;
}

/**
 * 2^24 ids above those of systemd's dynamic users, containers and subuids (systemd's UIDS-GIDS: 1879048192 to
 * 2147483647 are unused). A machine's id selects one, so no record is needed; two of a hundred live machines share
 * one in about one case of 3,400.
 */
export const MACHINE_IDS: IdRange = { first: 1_900_000_000, count: 1 << 24 };

/** Used inside a container that maps only the first 65,536 ids. */
export const CONTAINER_IDS: IdRange = { first: 40_000, count: 20_000 };

/** The first range that the user namespace maps whole; undefined where QEMU has to keep this process's user. */
export function usableIds(
  uidMap: string,
  ranges: readonly IdRange[] = [MACHINE_IDS, CONTAINER_IDS],
): IdRange | undefined {
  const mapped = uidMap
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number))
    .map(([first = NaN, , count = NaN]) => ({ first, count }));
  return ranges.find((range) =>
    mapped.some(({ first, count }) => first <= range.first && first + count >= range.first + range.count),
  );
}

/** The user id of a machine: the last 48 bits of its (random) id, into the range. */
export function machineUser(id: string, range: IdRange): number {
  const digits = /[0-9a-f]{1,12}$/.exec(id)?.[0] ?? Buffer.from(id).toString("hex").slice(-12);
  return range.first + (parseInt(digits, 16) % range.count);
}

/** What QEMU's process may be and use. */
export interface Confinement {
  /** User and group id; undefined keeps this process's. */
  readonly userId: number | undefined;
  /** The group that may open /dev/kvm, where the machine needs it and has no other way. */
  readonly kvmGroupId: number | undefined;
  readonly openFiles: number;
  /** Largest file it may write, in bytes. */
  readonly fileBytes: number;
}

/** The program and arguments that run `command` confined. Both programs replace themselves: the pid stays. */
export function confined(command: readonly string[], confinement: Confinement): [string, ...string[]] {
  const { userId, kvmGroupId, openFiles, fileBytes } = confinement;
  const user =
    userId === undefined
      ? []
      : [
          `--reuid=${userId}`,
          `--regid=${userId}`,
          kvmGroupId === undefined ? "--clear-groups" : `--groups=${kvmGroupId}`,
        ];
  return [
    ...(["prlimit", "--core=0", `--nofile=${openFiles}`, `--fsize=${fileBytes}`, "--"] as const),
    ...["setpriv", ...user, "--no-new-privs", "--", ...command],
  ];
}

/** The user for a machine, by who we are; asked anew each time, it costs one small read. */
export async function userFor(id: string): Promise<number | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const range = usableIds(await readFile("/proc/self/uid_map", "utf8"));
  return range === undefined ? undefined : machineUser(id, range);
}

/** The group of /dev/kvm, where it lets its group in. */
export async function kvmGroup(isolation: Isolation, device = "/dev/kvm"): Promise<number | undefined> {
  if (isolation !== "kvm") return undefined;
  try {
    const { gid, mode } = await stat(device);
    return (mode & 0o060) === 0o060 ? gid : undefined;
  } catch {
    return undefined;
  }
}

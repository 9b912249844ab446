import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/**
 * What runs besides this process and those that started it: all, where they have their processes to themselves (ALONE),
 * else those that name the home or work in it.
 * @returns a line for each
 */
export function others(home) {
  const all = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap(describe);
  const parents = new Map(all.map(({ pid, parent }) => [pid, parent]));
  const own = new Set();
  for (let pid = process.pid; pid !== undefined; pid = parents.get(pid)) own.add(pid);
  return all
    .filter(({ pid, line, cwd }) => {
      const theirs = process.env.ALONE !== undefined || line.includes(home) || cwd.startsWith(home);
      return theirs && line !== "" && !own.has(pid);
    })
    .map(({ pid, line }) => `${pid} ${line.slice(0, 200)}`);
}

function describe(pid) {
  try {
    const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
    const parent = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
    return [{ pid: Number(pid), parent, line, cwd: cwdOf(pid) }];
  } catch {
    // It ended meanwhile.
    return [];
  }
}

function cwdOf(pid) {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    // Of another user.
    return "";
  }
}

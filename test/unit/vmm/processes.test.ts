import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, it } from "vitest";
import { endProcess, isAlive, processesNamed } from "../../../src/vmm/qemu/processes.js";

it("a later process of the same pid is another one: it is not taken for the machine, and not ended", async () => {
  const id = `vm-${process.pid}-reuse`;
  const child = spawn("sh", ["-c", "sleep 60; :", "-name", id], { stdio: "ignore" });
  await once(child, "spawn");
  const [found, ...others] = await processesNamed(id);
  expect([found?.pid, others]).toEqual([child.pid, []]);
  if (found === undefined) return;
  // What a stale note would say of it: the pid of a process that started at another time.
  const stale = { pid: found.pid, startTime: String(Number(found.startTime) - 1) };
  expect([await isAlive(stale), await isAlive(found)]).toEqual([false, true]);
  await endProcess(stale);
  expect([child.exitCode, child.signalCode, await isAlive(found)]).toEqual([null, null, true]);
  await endProcess(found);
  expect(await isAlive(found)).toBe(false);
  expect(await processesNamed(id)).toEqual([]);
});

it("an id that is part of another's, or an argument of something else, names no machine", async () => {
  const id = `vm-${process.pid}-part`;
  const child = spawn("sh", ["-c", "sleep 60; :", id, "-name", `${id}-longer`], { stdio: "ignore" });
  await once(child, "spawn");
  expect(await processesNamed(id)).toEqual([]);
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
});

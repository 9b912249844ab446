import { copyFileSync, existsSync, readdirSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { connectUnix, sleep } from "../../src/kit/index.js";
import type { Machine, MachineSpec, SavedMachine, VmmDriver } from "../../src/vmm/index.js";
import { processesNamed } from "../../src/vmm/qemu/processes.js";

export interface DriverHarness {
  readonly driver: VmmDriver;
  /** A spec with a fresh id and a private directory. */
  readonly spec: () => Promise<MachineSpec> | MachineSpec;
}

/** What every VmmDriver promises; run against the fake, a stub QEMU, and QEMU. */
export function vmmDriverContract(name: string, harness: () => DriverHarness): void {
  describe(`${name} keeps the contract of VmmDriver:`, () => {
    const started: { machine: Machine; spec: MachineSpec }[] = [];

    async function start(restore?: SavedMachine): Promise<Machine> {
      const spec = await harness().spec();
      const machine = await harness().driver.start(spec, restore === undefined ? {} : { restore });
      started.push({ machine, spec });
      return machine;
    }

    /** A machine that was saved, and is gone. */
    async function saved(): Promise<SavedMachine> {
      const spec = await harness().spec();
      const files = { memoryFile: join(spec.directory, "memory"), stateFile: join(spec.directory, "state") };
      writeFileSync(files.memoryFile, "");
      truncateSync(files.memoryFile, spec.memMib * 1024 ** 2);
      const machine = await harness().driver.start({ ...spec, memoryFile: files.memoryFile });
      started.push({ machine, spec });
      await machine.pause();
      expect(await machine.status()).toBe("paused");
      await machine.save(files.stateFile);
      await machine.kill();
      // Restored machines run as other users, who open it for writing.
      await chmod(files.memoryFile, 0o666);
      return files;
    }

    afterEach(async () => {
      for (const { machine, spec } of started.splice(0)) {
        await machine.kill();
        expect(await processesNamed(spec.id)).toEqual([]);
        expect(existsSync(`/proc/${machine.pid}`)).toBe(false);
        expect(readdirSync(spec.directory).filter((entry) => entry.endsWith(".sock"))).toEqual([]);
      }
    });

    it("says which accelerators it can use", () => {
      expect(harness().driver.capabilities.isolations).toContain("software");
    });

    it("starts a machine that runs and whose agent's socket can be connected to", async () => {
      const machine = await start();
      expect(await machine.status()).toBe("running");
      const socket = await connectUnix(machine.agentSocket);
      socket.destroy();
      expect(machine.pid).toBeGreaterThan(1);
    });

    it("finds the machine's process by its id alone", async () => {
      const machine = await start();
      expect((await processesNamed(machine.id)).map(({ pid }) => pid)).toEqual([machine.pid]);
    });

    it("kills a machine, any number of times, and says how it ended", async () => {
      const machine = await start();
      const [first, second] = await Promise.all([machine.kill(), machine.kill()]);
      expect(first).toEqual({ code: null, signal: "SIGKILL" });
      expect(second).toEqual(first);
      expect(await machine.exited).toEqual(first);
    });

    it("takes over a machine that runs, and none that does not", async () => {
      const spec = await harness().spec();
      expect(await harness().driver.adopt(spec)).toBeUndefined();
      const machine = await harness().driver.start(spec);
      started.push({ machine, spec });
      await machine.release();
      const adopted = await harness().driver.adopt(spec);
      expect(adopted?.pid).toBe(machine.pid);
      expect(await adopted?.status()).toBe("running");
      await adopted?.kill();
      expect(await processesNamed(spec.id)).toEqual([]);
      expect(await adopted?.status()).toBe("ended");
    });

    it("answers every call after the end at once", async () => {
      const machine = await start();
      await machine.kill();
      expect(await machine.status()).toBe("ended");
      await machine.resume();
      await expect(machine.putLayer(0, "overlay", "layer-1")).rejects.toMatchObject({ code: "VM_CRASHED" });
      await expect(machine.topLayer(0)).rejects.toMatchObject({ code: "VM_CRASHED" });
      expect(typeof (await machine.diagnostics()).consoleTail).toBe("string");
    });

    it("notices a process that is killed from outside", async () => {
      const machine = await start();
      process.kill(machine.pid, "SIGKILL");
      expect(await machine.exited).toEqual({ code: null, signal: "SIGKILL" });
      expect(await machine.status()).toBe("ended");
    });

    it("calls a stopped process unresponsive, and kills it all the same", async () => {
      const machine = await start();
      process.kill(machine.pid, "SIGSTOP");
      while ((await machine.status()) === "running") await sleep(10);
      expect(await machine.status()).toBe("unresponsive");
      await machine.kill();
    });

    it("ends the machine when it is disposed of", async () => {
      const machine = await start();
      await machine[Symbol.asyncDispose]();
      expect(await machine.status()).toBe("ended");
    });

    it("pauses and continues a machine", async () => {
      const machine = await start();
      await machine.pause();
      expect(await machine.status()).toBe("paused");
      await machine.resume();
      expect(await machine.status()).toBe("running");
    });

    it("restores any number of machines from one that was saved, and they run", async () => {
      const restore = await saved();
      const [first, second] = await Promise.all([start(restore), start(restore)]);
      expect(await first.status()).toBe("running");
      expect(await second.status()).toBe("running");
      (await connectUnix(second.agentSocket)).destroy();
    });

    it("continues a machine that was saved, and saves it to another file", async () => {
      const spec = await harness().spec();
      const memoryFile = join(spec.directory, "memory");
      writeFileSync(memoryFile, "");
      truncateSync(memoryFile, spec.memMib * 1024 ** 2);
      const machine = await harness().driver.start({ ...spec, memoryFile });
      started.push({ machine, spec });
      await machine.save(join(spec.directory, "first"));
      await machine.resume();
      expect(await machine.status()).toBe("running");
      await machine.save(join(spec.directory, "second"));
    });

    it("goes on in a memory of its own, told right before it runs, and is saved with it again", async () => {
      const restore = await saved();
      const spec = await harness().spec();
      const memoryFile = join(spec.directory, "own");
      copyFileSync(restore.memoryFile, memoryFile);
      let told = 0;
      const beforeRun = (): Promise<void> => {
        told += 1;
        return Promise.resolve();
      };
      const options = { restore: { ...restore, memoryFile }, beforeRun };
      const machine = await harness().driver.start({ ...spec, memoryFile }, options);
      started.push({ machine, spec });
      expect([told, await machine.status()]).toEqual([1, "running"]);
      expect(statSync(machine.memoryFile ?? "").ino).toBe(statSync(memoryFile).ino);
      await machine.save(join(spec.directory, "again"));
      await machine.resume();
      expect(await machine.status()).toBe("running");
    });

    it("starts nothing where what is told before it runs refuses", async () => {
      const restore = await saved();
      const spec = await harness().spec();
      const beforeRun = (): Promise<void> => Promise.reject(new Error("not now"));
      await expect(harness().driver.start(spec, { restore, beforeRun })).rejects.toThrow();
      expect(await processesNamed(spec.id)).toEqual([]);
    });

    it("names a state that cannot be loaded, and leaves nothing of the machine", async () => {
      const good = await saved();
      const spec = await harness().spec();
      const stateFile = join(spec.directory, "state");
      writeFileSync(stateFile, "this is no state of a machine");
      const restore = { ...good, stateFile };
      await expect(harness().driver.start(spec, { restore })).rejects.toMatchObject({
        code: "VM_RESTORE_FAILED",
      });
      expect(await processesNamed(spec.id)).toEqual([]);
      expect(readdirSync(spec.directory)).toEqual(["state"]);
    });

    it("does not save a machine that has ended", async () => {
      const machine = await start();
      await machine.kill();
      await machine.pause();
      await expect(machine.save("state")).rejects.toMatchObject({ code: "VM_SAVE_FAILED" });
    });

    it("keeps two machines apart", async () => {
      const [first, second] = await Promise.all([start(), start()]);
      await first.kill();
      expect(await second.status()).toBe("running");
      expect(first.agentSocket).not.toBe(second.agentSocket);
    });

    it("leaves nothing of a start that is aborted", async () => {
      const spec = await harness().spec();
      const abort = new AbortController();
      const starting = harness().driver.start(spec, { signal: abort.signal });
      setTimeout(() => abort.abort(new Error("changed my mind")), 20);
      await starting
        .then((machine) => started.push({ machine, spec }))
        .catch((error: unknown) => {
          expect(String(error)).toContain("changed my mind");
          expect(readdirSync(spec.directory).filter((entry) => entry.endsWith(".sock"))).toEqual([]);
        });
      if (started.length === 0) expect(await processesNamed(spec.id)).toEqual([]);
    });

    it("starts nothing once it is aborted", async () => {
      const spec = await harness().spec();
      const signal = AbortSignal.abort(new Error("too late"));
      await expect(harness().driver.start(spec, { signal })).rejects.toThrow("too late");
      expect(await processesNamed(spec.id)).toEqual([]);
    });

    it("sweeps a machine by its id, and an id that nothing runs for", async () => {
      const machine = await start();
      await harness().driver.sweep(machine.id);
      expect(existsSync(`/proc/${machine.pid}/fd`) && (await processesNamed(machine.id)).length > 0).toBe(
        false,
      );
      expect(await machine.exited).toEqual({ code: null, signal: "SIGKILL" });
      await harness().driver.sweep(machine.id);
    });
  });
}

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { hostBoot, writeFileAtomic } from "../kit/index.js";
import type { Isolation } from "../sdk/index.js";
import type { Output } from "./output.js";

/** Says once per boot of this host that machines run under emulation: slower, and without QEMU's security promise. */
export async function sayEmulationOnce(
  isolation: Isolation,
  stateDir: string,
  stderr: Output,
): Promise<void> {
  if (isolation !== "software") return;
  const path = join(stateDir, "emulation-notice");
  const said = await readFile(path, "utf8").catch(() => "");
  const boot = (await hostBoot()) ?? "unknown";
  if (said === boot) return;
  await stderr.say(
    "pyro: software emulation is used, because KVM does not work here: VMs are slower, and QEMU promises less isolation; `pyro doctor` says why",
  );
  await writeFileAtomic(path, boot).catch(() => undefined);
}

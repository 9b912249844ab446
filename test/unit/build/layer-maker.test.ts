import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { layerMaker, type StepMachines, type StepMachineSpec } from "../../../src/build/index.js";
import type { AptSource, InstalledImage, LayerRequest } from "../../../src/image/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { policyFromText } from "../../../src/network/index.js";
import { fakeStepMachines, type FakeStepMachines } from "./fake-machines.js";

let directory: string;
let machines: FakeStepMachines;
let specs: StepMachineSpec[];
let seen: StepMachines;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pyro-layer-maker-"));
  await writeFile(join(directory, "image"), "the image");
  machines = fakeStepMachines();
  specs = [];
  seen = {
    open: async (spec, signal) => {
      specs.push(spec);
      return await machines.open(spec, signal);
    },
  };
});
afterEach(async () => {
  expect(machines.openMachines.size).toBe(0);
  await rm(directory, { recursive: true });
});

const request = (more: Partial<LayerRequest> = {}): LayerRequest => ({
  image: { path: join(directory, "image") } as InstalledImage,
  ...{ below: [], target: join(directory, "layer"), argv: ["sh", "-c", "true"] },
  ...{ onOutput: () => undefined, signal: new AbortController().signal },
  ...more,
});
const maker = () => layerMaker(seen, () => ({ [Symbol.dispose]: () => undefined }));
const mirror = (...uris: string[]): AptSource => ({ uris, suites: ["bookworm"], components: ["main"] });

describe("a layer of a machine", () => {
  it("is what a root's command left, once the machine has ended in order", async () => {
    const output: string[] = [];
    const made = await maker().make(
      request({ onOutput: ({ data }) => output.push(Buffer.from(data).toString()) }),
    );
    expect(made).toEqual({ exitCode: 0, how: "exit 0" });
    expect(machines.done).toEqual(["run true as root in / with  network off", "finish layer"]);
    expect(output).toEqual(["output of true\n"]);
  });

  it("has files of this host where they are given, before the command", async () => {
    await writeFile(join(directory, "files.tar"), Buffer.alloc(1024));
    await maker().make(request({ files: join(directory, "files.tar") }));
    expect(machines.done[0]).toBe("extract nothing into /");
  });

  it("is none where the command fails, and says how", async () => {
    machines.onRun = () => Promise.resolve(100);
    expect(await maker().make(request())).toEqual({ exitCode: 100, how: "exit 100" });
    expect(machines.done).toHaveLength(1);
  });

  it("is none where the machine dies, with what it died of", async () => {
    machines.onRun = async (_, __, lose) => {
      lose(new PyroError("VM_CRASHED", "the machine is gone", { hint: "try again" }));
      return await new Promise(() => undefined);
    };
    await expect(maker().make(request())).rejects.toMatchObject({ code: "VM_CRASHED" });
  });

  it("ends with its caller", async () => {
    const leaving = new AbortController();
    machines.onRun = async () => {
      leaving.abort();
      return await new Promise(() => undefined);
    };
    await expect(maker().make(request({ signal: leaving.signal }))).rejects.toThrow(/abort/);
  });
});

describe("its network", () => {
  const rulesOf = async (...mirrors: AptSource[]): Promise<readonly string[]> => {
    specs = [];
    await rm(join(directory, "layer"), { force: true });
    await maker().make(request({ network: { mirrors } }));
    const policy = specs[0]?.network;
    expect(policy).toMatchObject({ mode: "egress", allow: ["*"], deny: [], allowHostPorts: [] });
    // Each is a rule that the gateway takes.
    policyFromText(policy);
    return policy?.allowCidrs ?? [];
  };

  it("is the internet, and nothing that is not public", async () => {
    expect(await rulesOf()).toEqual([]);
  });

  it("has a mirror's address and port besides, and no more of its network", async () => {
    expect(await rulesOf(mirror("http://10.1.2.3/debian", "http://10.1.2.3/debian-security/"))).toEqual([
      "10.1.2.3:80",
    ]);
    expect(await rulesOf(mirror("https://10.1.2.3/debian"), mirror("http://[fd00::1]:3142/debian"))).toEqual([
      "10.1.2.3:443",
      "[fd00::1]:3142",
    ]);
  });

  it("has nothing of a mirror whose name leads nowhere, or that is no address", async () => {
    expect(await rulesOf(mirror("http://mirror.invalid/debian", "file:/srv/debian", "what"))).toEqual([]);
  });
});

import { lookup } from "node:dns/promises";
import { createReadStream } from "node:fs";
import type { AptSource, LayerMaker, LayerResult } from "../image/index.js";
import { DEFAULT_MACHINE, LIMITS } from "../protocol/index.js";
import {
  NO_NETWORK,
  type CommandExit,
  type NetworkPolicyText,
  type OutputChunk,
} from "../workspace/index.js";
import { inMachine } from "./in-machine.js";
import type { StepMachines } from "./machines.js";
import { howItEnded } from "./step-errors.js";

/** Makes layers in the machines that steps of builds run in; each command is root's, in /. */
export function layerMaker(machines: StepMachines, hold: LayerMaker["hold"]): LayerMaker {
  return {
    hold,
    make: async ({ image, below, target, files, argv, network, onOutput, signal }) => {
      const policy = network === undefined ? NO_NETWORK : await policyFor(network.mirrors);
      const spec = { image, below, target, network: policy, ...DEFAULT_MACHINE };
      const command = { argv, env: [], user: "", cwd: "/", timeoutMs: LIMITS.installMs };
      const told = (chunk: OutputChunk): Promise<void> => {
        onOutput(chunk);
        return Promise.resolve();
      };
      let result: LayerResult | undefined;
      await inMachine(
        machines,
        spec,
        async (machine) => {
          if (files !== undefined) await machine.extract("/", createReadStream(files), signal);
          const exit = await machine.run(command, told, signal);
          result = resultOf(exit, machine.refusal);
          if (result.exitCode === 0) await machine.finish(signal);
        },
        signal,
      );
      if (result === undefined) throw new Error("the machine did nothing");
      return result;
    },
  };
}

function resultOf(exit: CommandExit, refusal: LayerResult["refusal"]): LayerResult {
  const how = howItEnded(exit, LIMITS.installMs);
  return { exitCode: exit.exitCode ?? null, how, ...(refusal === undefined ? {} : { refusal }) };
}

/** The internet, and the mirrors that the user of this host named: that is their word for it, wherever those are. */
async function policyFor(mirrors: readonly AptSource[]): Promise<NetworkPolicyText> {
  const places = new Set<string>();
  for (const uri of mirrors.flatMap(({ uris }) => uris)) {
    for (const place of await placesOf(uri)) places.add(place);
  }
  return { mode: "egress", allow: ["*"], deny: [], allowCidrs: [...places], allowHostPorts: [] };
}

/** Address and port of a mirror, as rules have them; none where its name leads nowhere, which apt then says. */
async function placesOf(uri: string): Promise<string[]> {
  if (!URL.canParse(uri)) return [];
  const { hostname, port, protocol } = new URL(uri);
  if (hostname === "") return [];
  const at = port === "" ? (protocol === "https:" ? "443" : "80") : port;
  const found = await lookup(hostname.replace(/^\[|\]$/g, ""), { all: true }).catch(() => []);
  return found.map(({ address, family }) => (family === 6 ? `[${address}]:${at}` : `${address}:${at}`));
}

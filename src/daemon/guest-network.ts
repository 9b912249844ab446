import type { GatewayHandlers } from "../guest/index.js";
import type { Logger } from "../kit/index.js";
import type { Gateway } from "../network/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { MachineNetwork } from "../workspace/index.js";
import type { BootedMachine } from "./machines.js";
import { NOTHING, type Provision } from "./provision/index.js";

/** Who answers the programs of one machine. */
export interface NetworkDoors extends Pick<Gateway, "resolve" | "connect"> {
  /** What it gets of the host with its network. */
  readonly provision: () => Promise<Provision>;
}

/**
 * The network of a machine, over whichever connection its agent has. On a new one the gateway is served anew: what was
 * open ended with the old.
 * @param over the machine was let go of: its line is the next daemon's
 */
export function guestNetwork(
  { line }: Pick<BootedMachine, "line">,
  over: AbortSignal,
  log: Logger,
): MachineNetwork {
  let handlers: GatewayHandlers | undefined;
  let provision: NetworkDoors["provision"] | undefined;
  let egress = false;
  const join = async (): Promise<void> => {
    if (handlers === undefined || over.aborted) return;
    const { guest } = line;
    if (!guest.hello.capabilities.includes(CAPABILITY)) {
      if (egress) throw tooOld();
      return;
    }
    guest.serveGateway(handlers);
    const { files, environment } = (egress ? await provision?.() : undefined) ?? NOTHING;
    const request = { egress, files: [...files], environment: [...environment] };
    await guest.network
      .configure(request, { timeoutMs: LIMITS.agentCallTimeoutMs })
      .catch((error: unknown) => {
        throw namedFailure(PyroError.from(error));
      });
  };
  line.onNewGuest(() => {
    join().catch((error: unknown) => {
      if (!over.aborted) log.warn("network.configure", { error: PyroError.from(error).message });
    });
  });
  return {
    serve: async (doors, hasEgress) => {
      handlers = handlersOf(doors as NetworkDoors, log);
      ({ provision } = doors as NetworkDoors);
      egress = hasEgress;
      line.guest.serveGateway(handlers);
      // While nobody is on the line, the next connection is told.
      await line.during(join);
    },
    dial: async (port, signal) => await line.during(async (guest) => await guest.dial(port, signal)),
  };
}

function handlersOf(doors: NetworkDoors, log: Logger): GatewayHandlers {
  return {
    resolve: async ({ name, family }) => await doors.resolve(name, family),
    connect: async (target, stream) => await doors.connect(target, stream),
    onDefect: (error) => log.error("network.defect", { error: PyroError.from(error).message }),
  };
}

/** What an agent says in its hello that can let programs out. */
const CAPABILITY = "network";

function tooOld(): PyroError {
  return new PyroError("NETWORK_NOT_AVAILABLE", "this machine was started by a pyro that gave no network", {
    hint: START_AGAIN,
  });
}

/** What the machine's kernel refused is the doing of root in it: routes or addresses of its own are in the way. */
function namedFailure(error: PyroError): PyroError {
  if (error.code !== "INTERNAL") return error;
  const what = error.message.split("\n")[0] ?? "";
  const message = `something in the machine keeps its network from being set: ${what}`;
  return new PyroError("NETWORK_NOT_AVAILABLE", message, { hint: START_AGAIN, cause: error });
}

const START_AGAIN = "stop the workspace and start it again; its disk is kept";

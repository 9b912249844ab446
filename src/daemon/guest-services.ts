import {
  getService,
  listServices,
  readServiceLogs,
  rewriteServiceLogs,
  startService,
  stopService,
  type GuestConnection,
} from "../guest/index.js";
import { PyroError } from "../protocol/index.js";
import type { MachineServices } from "../workspace/index.js";
import type { BootedMachine } from "./machines.js";

/**
 * The supervisor of a machine. Each of its calls may be made twice, and is, on a new line, where the line was lost.
 * @param over the machine was let go of: its line is the next daemon's
 */
export function guestServices(booted: BootedMachine, over: AbortSignal): MachineServices {
  const call = async <T>(body: (connection: GuestConnection) => Promise<T>): Promise<T> => {
    const connection = booted.guest;
    try {
      return await body(connection);
    } catch (thrown) {
      if (PyroError.from(thrown).code !== "GUEST_DISCONNECTED" || over.aborted) throw thrown;
      // Another call may have connected anew already.
      if (booted.guest === connection) await booted.reconnect();
      return await body(booted.guest);
    }
  };
  return {
    start: (spec, options) => call((guest) => startService(guest, spec, options)),
    get: (name, options) => call((guest) => getService(guest, name, options)),
    list: (options) => call((guest) => listServices(guest, options)),
    logs: (name, options) => call((guest) => readServiceLogs(guest, name, options)),
    rewriteLogs: (service, logs, options) =>
      call((guest) => rewriteServiceLogs(guest, service, logs, options)),
    stop: (name, graceMs, options) => call((guest) => stopService(guest, name, graceMs, options)),
  };
}

/**
 * A named step at which a fault test kills this process: `PYRO_FAILPOINT=name` ends it by SIGKILL, as a crash would.
 * Costs one comparison where the variable is not set.
 */
export function failpoint(name: string): void {
  if (process.env["PYRO_FAILPOINT"] === name) process.kill(process.pid, "SIGKILL");
}

/**
 * A named step at which a fault test ends this process: `PYRO_FAILPOINT=name` kills it by SIGKILL, as a crash would;
 * `PYRO_FAILPOINT=name=SIGSTOP` stops it once, so that the test can kill something else at exactly that step and let
 * it go on by SIGCONT. Costs one comparison where the variable is not set.
 *
 * test/failpoints.ts finds all names in the source: write the name as a literal.
 */
export function failpoint(name: string): void {
  const wanted = process.env["PYRO_FAILPOINT"];
  if (wanted === name) process.kill(process.pid, "SIGKILL");
  if (wanted !== `${name}=SIGSTOP`) return;
  delete process.env["PYRO_FAILPOINT"];
  process.kill(process.pid, "SIGSTOP");
}

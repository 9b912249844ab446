import type { Manifest } from "./record.js";
import type { EnvironmentConfig } from "./status.js";

/** A configuration as a manifest has it. */
export function configRecord({
  env,
  user,
  workingDir,
  entrypoint,
  cmd,
}: EnvironmentConfig): NonNullable<Manifest["config"]> {
  return { env: [...env], user, working_dir: workingDir, entrypoint: [...entrypoint], cmd: [...cmd] };
}

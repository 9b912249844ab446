/**
 * The secrets of workspaces: which there may be, where they are kept, what processes get of them, and how they are taken
 * out of everything that is shown.
 *
 * - A value is in the daemon's memory, in one file of the workspace (0600), and in the environment of the processes whose
 *   `secret_env` names it. It is in no record, log, error or command line.
 * - What is found does not depend on how a stream is cut, and what is held back of one has a bound.
 * - Whoever starts a process with secrets holds them (`WorkspaceSecrets.hold`) as long as it lives, so that memory with
 *   secrets in it is not written unasked.
 */
export { Redactor, REDACTED, type Redaction } from "./redactor.js";
export { SecretsInContent, type ContentPart } from "./content.js";
export type { ScanPosition } from "./scan.js";
export { checkSecrets, type Secret } from "./secret.js";
export { loadSecrets, removeSecrets, saveSecrets } from "./secret-file.js";
export { SecretHolders } from "./secret-holders.js";
export { maskedRange, withSurroundings, type ReadRange } from "./masked-read.js";
export {
  WorkspaceSecrets,
  type SecretEnv,
  type SecretEnvironment,
  type SecretHolder,
} from "./workspace-secrets.js";

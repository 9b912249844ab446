/**
 * Small tools that know nothing of pyro: processes, deadlines, files, locks, logs. Imports nothing of ours.
 * Whatever opens something returns a disposable; closing twice is fine.
 */
export { baseEnvironment, complete, launch, LaunchError } from "./launch.js";
export type { Child, ChildExit, Completed, LaunchOptions } from "./launch.js";
export { DeadlineError, sleep, untilAborted, within } from "./deadline.js";
export {
  allocatedBytes,
  exists,
  makePrivateDirectory,
  namesIn,
  readJsonFile,
  scratchDirectory,
  sealFile,
  syncDirectory,
  syncFile,
  writeFileAtomic,
} from "./files.js";
export { tryLock, type FileLock } from "./lock.js";
export { freshId } from "./ids.js";
export { Slots } from "./slots.js";
export { fileLogger, silentLogger, type Logger } from "./log.js";
export { directoriesFor, type Directories } from "./directories.js";
export { failpoint } from "./failpoint.js";
export { findCheckout, type FoundCheckout } from "./checkout.js";
export {
  decodeTarHeader,
  encodeTarHeader,
  TAR_BLOCK,
  tarChecksum,
  tarEntry,
  tarPadding,
  type TarEntry,
} from "./tar.js";
export {
  BINARY_LOOK_BYTES,
  byteString,
  bytesOf,
  looksBinary,
  textOf,
  type ByteString,
} from "./byte-string.js";
export { findProgram, isExecutable, searchPath } from "./programs.js";
export { distributionOf, installWords, thisDistribution, type Distribution } from "./distribution.js";
export { connectUnix, shortSocketPath } from "./unix-socket.js";
export { packagePath, thisBuild, type Build } from "./build.js";
export {
  networkVariables,
  networkVariablesForDaemon,
  loginVariables,
  type NetworkVariables,
} from "./network-variables.js";
export { useBufferForText } from "./protobuf-text.js";
export { hostBoot } from "./host-boot.js";
export { isHostName } from "./host-name.js";
export { withoutCredentials } from "./url.js";
export { fingerprintOf, sameFingerprint, sha256File, type Fingerprint } from "./file-hash.js";
export { isJsonObject, type JsonObject } from "./json-object.js";
export { shellQuoted, shellWord } from "./shell-word.js";
export { shown } from "./shown.js";
export { tokenOfFile } from "./token-file.js";

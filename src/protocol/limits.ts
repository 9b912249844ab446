/** The machine of whoever asks for no other; `pyro prepare` makes its template. */
export const DEFAULT_MACHINE = { vcpuCount: 1, memMib: 1024 } as const;

/** Every bound of pyro that is not a user's option: queues, buffers, frames and waits, with units in the names. */
export const LIMITS = {
  /** Payload of one frame of the link (architecture: ≤ 64 KiB, so that control never waits long behind bulk). */
  linkFramePayloadBytes: 64 * 1024,
  /** One chunk of a bulk stream: with the message around it, it fills one frame of the link. */
  bulkChunkBytes: 60 * 1024,
  /** Longest single argument or environment entry, its NUL included: MAX_ARG_STRLEN of Linux. */
  argumentBytes: 131_072,
  /** All arguments and environment entries together: a quarter of the guest's default stack limit of 8 MiB. */
  argumentsTotalBytes: 2 * 1024 * 1024,
  argumentCount: 100_000,
  /** From the start of QEMU to the agent's hello; emulation on a busy machine is slow, progress extends nothing. */
  bootTimeoutMs: 60_000,
  /** From the start of QEMU to an answering QMP. */
  qmpTimeoutMs: 15_000,
  /** Writing or reading the device state of a machine: 0.4 MB, 40 ms at most on a quiet host. */
  saveTimeoutMs: 15_000,
  /** Copying a template into memory and hashing it: 0.14 s for 1 GiB that is mostly zeros. */
  holdTimeoutMs: 60_000,
  /** Device state of a saved machine; its RAM is a file of its own. */
  machineStateBytes: 64 * 1024 * 1024,
  /** Entries of one list of files of the guest. */
  listedEntries: 100_000,
  /** Changes against the baseline that are listed at once. */
  listedChanges: 100_000,
  /** Paths and link targets of one such list together. */
  listedPathBytes: 64 * 1024 * 1024,
  /** A file that is edited in the guest, before and after. */
  editedFileBytes: 8 * 1024 * 1024,
  /** Each of the two texts of an edit; a message to the agent has 16 MiB. */
  editedTextBytes: 4 * 1024 * 1024,
  /** Changes of one commit to files of the guest (guest.proto). */
  commitSteps: 1000,
  /** Any small call to the agent. */
  agentCallTimeoutMs: 15_000,
  /** Grace between TERM and KILL for a guest command that timed out. */
  killGraceMs: 1_000,
  /** Kept of a console or a stderr for error messages. */
  consoleTailBytes: 16 * 1024,
  /** Host-side bound of a started run's output: its head and its tail, half each. */
  runOutputBytes: 32 * 1024 * 1024,
  /** Commands of a workspace whose records and outputs are kept, and all their outputs together. */
  commandsKept: 500,
  commandOutputTotalBytes: 512 * 1024 * 1024,
  /**
   * Of each stream of a command by itself, its head and its tail, half each. The tail holds more than can be on its way
   * to a client that follows (an HTTP/2 window and what sockets take), so that a client finds what it missed.
   */
  commandStreamBytes: 8 * 1024 * 1024,
  /** A command that a daemon takes over waits this long for a client that followed it before. */
  attachGraceMs: 300,
  /** Shells of one workspace, those that have exited included (the agent's own bound, guest/internal/shell). */
  shellsPerWorkspace: 128,
  /** Kept of what a shell's terminal showed (the agent's own bound). */
  shellRingBytes: 1024 * 1024,
  /** Largest terminal. */
  shellColsMax: 1000,
  shellRowsMax: 500,
  /** Typed by one call. */
  shellInputBytes: 65_536,
  /** How long typing waits for a program that does not read. */
  shellInputWaitMs: 2_000,
  /** Longest quiet that a read may wait for, and the longest that it then waits in all. */
  shellQuietMs: 30_000,
  shellWaitMs: 40_000,
  /** Output of one read; a plain one counts characters. */
  shellOutputBytes: 65_536,
  /** Lines above the screen that a plain read can still show. */
  shellScrollbackLines: 1000,
  /** Screens that the daemon keeps drawn; any other is drawn anew from what the agent keeps. */
  shellScreens: 8,
  /** Typing in an attached terminal counts as activity this often. */
  shellActivityMs: 5_000,
  /** Longest wait of one call for what goes on in a workspace: a day. */
  longestWaitMs: 24 * 3600 * 1000,
  /** Operations of one workspace that wait for their turn behind the one that goes on. */
  workspaceOperationsWaiting: 8,
  /** A workspace that is stopped, or could not be made, is deleted after this long (contract section 4, TTL). */
  workspaceRetentionMs: 7 * 24 * 3600 * 1000,
  /** Named snapshots of one workspace. */
  workspaceSnapshots: 64,
  /** Sealed layers of one workspace's disk: QEMU opens two descriptors for each, and looks in each for what it reads. */
  workspaceLayers: 64,
  /** Of a file on a stopped workspace's disk, read at once. */
  diskReadBytes: 64 * 1024 * 1024,
  /** Children of one fork. */
  forkCountMax: 16,
  /** How long the guest may hold its writes back while its disk is sealed; 20 ms are needed. */
  holdWritesMs: 10_000,
  /** How long a guest has to flush its disk and power off before it is ended. */
  shutDownMs: 20_000,
  /** How long a finished run is kept (contract section 2). */
  runRetentionMs: 10 * 60_000,
  /** A call through MCP never blocks longer (contract section 2). */
  mcpBlockMs: 45_000,
  /** Text of one MCP result (contract section 2). */
  mcpTextBytes: 10_000,
  /** A message over HTTP: as much as one on standard input may have (SDK 2.4). */
  mcpHttpBodyBytes: 10 * 1024 * 1024,
  /** Connections at once; further ones are closed. */
  mcpHttpConnections: 256,
  /** Requests with the token that are answered at once, open streams included. */
  mcpHttpRequests: 192,
  /** Sessions of clients older than 2026-07-28 at once; one that nobody uses ends for a new one. */
  mcpHttpSessions: 64,
  /** A session without a request or an open stream ends after this long. */
  mcpHttpSessionIdleMs: 60 * 60_000,
  /** From the first byte of a request to the end of its headers. */
  mcpHttpHeadersMs: 10_000,
  /** From the first byte of a request to the end of its body. */
  mcpHttpRequestMs: 120_000,
  /** Open streams say at least this often that they are. */
  mcpHttpKeepAliveMs: 15_000,
  /** A connection on which nothing moves for this long ends; a call takes at most 45 s. */
  mcpHttpStalledMs: 90_000,
  /** What the agent keeps of each stream of a service: the oldest bytes go first. */
  serviceLogBytes: 512 * 1024,
  /** Services of a workspace that are known, ended ones included (guest/internal/supervisor). */
  services: 64,
  /** Of a service's command line, as it is shown. */
  serviceCommandCharacters: 1_000,
  /** Grace between TERM and KILL for a service that is stopped. */
  serviceGraceMs: 5_000,
  /** Of the end of a failed service's output, in the error. */
  serviceTailBytes: 2_000,
  /** The daemon leaves after this long without a VM, a call, or a machine that waits ready (those leave by themselves). */
  /** Text of one patch, and a file that it changes. */
  patchBytes: 8 * 1024 * 1024,
  patchFileBytes: 8 * 1024 * 1024,
  /** All files that one patch changes, held in memory while it is tried. */
  patchTotalBytes: 128 * 1024 * 1024,
  patchFiles: 5_000,
  patchHunks: 100_000,
  /** Largest line number or count in a hunk's header. */
  patchLineNumber: 100_000_000,
  /** Lines looked at while places for misplaced hunks are searched: about a second. */
  patchScanLines: 50_000_000,
  /** A diff shows text up to this size a side; what is larger is named in one line. */
  diffFileBytes: 1024 * 1024,
  /** Inserted and deleted lines that a diff looks for the shortest script of; beyond, the changed middle is replaced as a whole. */
  diffEdits: 1_000,
  /** Of an export's paths that the host would run: kept for later looks at the workspace. */
  keptExecutablePaths: 100,
  /** Of an exported file, looked into for what would run on the host. */
  hostExecutableLookBytes: 64 * 1024,
  /** The daemon leaves after this long without a VM or a call. */
  daemonIdleMs: 60_000,
  /** A client waits this long for a daemon that it started. */
  daemonStartMs: 10_000,
  /** A daemon that is alive answers a Status within this; one that is stopped or swamped does not. */
  daemonAnswerMs: 5_000,
  /** Largest single message on the wire between client and daemon. */
  wireMessageBytes: 64 * 1024 * 1024,
  /** HTTP/2 window of a client's connection: bulk streams flow, and nobody buffers more. */
  http2WindowBytes: 1024 * 1024,
  /** A client sends at most this much standard input beyond what the command took (run.proto, stdin_accepted). */
  stdinAheadBytes: 1024 * 1024,
  /** Details of an error that a client takes over; longer ones are dropped. */
  errorDetailsBytes: 64 * 1024,
  /** Kept of each output stream when a command's result is collected, head and tail half each. */
  collectedOutputBytes: 1024 * 1024,
  /** Longest command timeout and VM life that may be asked for: 30 days. */
  longestSeconds: 30 * 24 * 3600,
  /** Entries of one seed; the agent's own bound (guest/internal/archive). */
  seedEntries: 4_000_000,
  /** All contents of a seed together, holes of sparse files included: no guest disk is that large. */
  seedBytes: 1024 ** 4,
  /** A compressed archive may expand to this much whatever its ratio, … */
  seedExpandedFreeBytes: 1024 ** 3,
  /** … and beyond it to this many times its own size; gzip reaches 1,030 with nothing but zeros. */
  seedExpansionRatio: 500,
  /** One extended header or long name of an archive; the agent's reader refuses more. */
  seedHeaderBytes: 1024 * 1024,
  /** Hard links of a directory seed that are remembered; further ones become copies. */
  seedHardLinks: 200_000,
  /** Warnings kept of one seed; further ones are counted. */
  seedWarnings: 100,
  /** What git may say before it counts as a failure: 4,000,000 paths of 128 bytes. */
  gitListBytes: 512 * 1024 * 1024,
  /** Unpacking the layers of an image: what its bounds of bytes and entries let through takes an hour under emulation. */
  imageUnpackMs: 4 * 3600 * 1000,
  /** Fetching a repository by its URL. */
  repositoryTimeoutMs: 120_000,
  /** Secrets of one workspace, each value, and all of them together. */
  secretCount: 32,
  secretBytes: 32 * 1024,
  secretsTotalBytes: 64 * 1024,
  /** A shorter value is refused: taking it out of all output would garble that, and give it away. */
  secretMinBytes: 4,
  /** A line of a secret with several is redacted by itself from this length on. */
  secretLineBytes: 8,
  /** Calls of one agent to the gateway at once: its connections, and names that it asks for. */
  networkCalls: 640,
  /** What each side may send of a connection before the first credit, and what each packet of it costs at least … */
  networkWindowBytes: 256 * 1024,
  networkPacketCostBytes: 256,
  /** … and one message of it: a piece of at most a frame. So 640 calls hold 245 MiB at the very most. */
  networkMessageBytes: 128 * 1024,
  /** How long a port in the guest may take to answer a connection from the host. */
  networkDialTimeoutMs: 15_000,
  /** TCP connections of one machine at once, those that are not answered yet included; and of those that are being dialled. */
  networkConnections: 512,
  networkDials: 64,
  /** Read of a server at once: what fits one frame with all that is around it. */
  networkReadBytes: 65_520,
  /** From a program's wish to the answer of the server. */
  networkConnectMs: 15_000,
  /** Looked at of what a program sends first, before any of it goes on. */
  networkFirstBytes: 64 * 1024,
  /** How long a program that has sent part of a line is waited with: it may wait for an answer to that. */
  networkFirstQuietMs: 500,
  /** … and where that would be refused: part of a request whose host only a name opened. */
  networkFirstUnclearMs: 10_000,
  /** Idle time after which the kernel asks a server whether it is still there. */
  networkKeepAliveMs: 60_000,
  /** Names that are looked up at once, by all workspaces and by one: each holds one of four threads of the process. */
  networkLookUps: 3,
  networkLookUpsPerWorkspace: 2,
  /** Names of one workspace that wait for that. */
  networkLookUpsWaiting: 128,
  networkLookUpMs: 10_000,
  /** Addresses that are taken from one answer. */
  networkAddressesPerName: 32,
  /** How long an answer counts, and one that there is none; and what the guest is told. */
  networkAnswerMs: 60_000,
  networkFailureMs: 3_000,
  /** Answers of one workspace that are kept. */
  networkAnswersKept: 512,
  /** Names that led to addresses: pairs that are remembered, names of one address, and how long after their last use. */
  networkNamePairs: 8_192,
  networkNamesPerAddress: 64,
  networkNameKeptMs: 10 * 60_000,
  /** Connections and refusals of one workspace that can be looked at, and the files that keep them. */
  networkEntries: 1_000,
  networkRecordBytes: 2 * 1024 * 1024,
  /** Ports of the host that lead to one service. */
  servicePublishedPorts: 16,
  /** Connections from the host to one published port at once. */
  networkPublishedConnections: 256,
  /** Rules of one workspace's network, all lists together; a file of them, and one rule. */
  networkRules: 1_000,
  networkFileBytes: 256 * 1024,
  networkRuleCharacters: 300,
  /** Ports of the host that one workspace may reach. */
  networkHostPorts: 64,
  /** Problems of a network policy that are told; further ones are counted. */
  networkProblems: 50,
  /** First bytes of a connection of the guest that are looked at: a TLS hello (browsers' have 2 KiB), an HTTP head. */
  clientHelloBytes: 16 * 1024,
  httpHeadBytes: 32 * 1024,
  /** A manifest or an index; registries must take 4 MiB and need not take more (distribution-spec, "Pushing Manifests"). */
  imageManifestBytes: 4 * 1024 * 1024,
  /** Images of one index, and indexes within indexes. */
  imageIndexEntries: 1_000,
  imageIndexDepth: 2,
  /** Layers of one image; overlay file systems end at 500, other tools at 127. */
  imageLayers: 256,
  imageConfigBytes: 4 * 1024 * 1024,
  /** Compressed, one layer and all of them: an environment's disk has 16 GiB. */
  imageLayerBytes: 32 * 1024 ** 3,
  imageBytes: 64 * 1024 ** 3,
  /** Layers that are fetched at once, by all pulls together. */
  registryDownloads: 4,
  registryConnectMs: 15_000,
  /** From a request to the head of its answer. */
  registryHeadersMs: 30_000,
  /** A manifest, a configuration or a token, from the first byte to the last. */
  registryDocumentMs: 120_000,
  /** How long a body may pause. */
  registryIdleMs: 30_000,
  /** Tries of one request, or of one blob since it last got on by `registryProgressBytes`. */
  registryAttempts: 5,
  registryProgressBytes: 1024 * 1024,
  /** First wait before another try, doubled each time and drawn from zero to that. */
  registryRetryMs: 500,
  /** Longest that a registry is obeyed that asks to be left alone (Retry-After). */
  registryRetryAfterMs: 60_000,
  registryRedirects: 5,
  /** From the end of an upload to the registry's word that it has it: it may read it all once more. */
  registryCommitMs: 300_000,
  /** What is looked at of an error that a registry tells. */
  registryErrorBytes: 64 * 1024,
  /** A registry's answer to a request for a token. */
  registryTokenBytes: 256 * 1024,
  /** What a token without `expires_in` lives (distribution, token.md). */
  registryTokenMs: 60_000,
  /** Files of one archive of images, and an extended header of it. */
  archiveEntries: 100_000,
  archiveHeaderBytes: 64 * 1024,
  /** The user's container configuration, and what a credential helper says. */
  containerConfigBytes: 1024 * 1024,
  credentialHelperMs: 15_000,
  /** Parts of a download that nobody goes on with are removed after this long. */
  partialBlobMs: 7 * 24 * 3600_000,
  /** Of one build: steps that make a layer (QEMU opens two descriptors for each), and the file that says them. */
  buildSteps: 64,
  buildFileBytes: 1024 * 1024,
  /** What COPY takes of the context, all its files together: an environment's disk has 16 GiB. */
  buildContextBytes: 16 * 1024 ** 3,
  /** How long one step may take where nothing is said. */
  buildStepMs: 30 * 60_000,
  /** Installing the packages of a curated environment over an image: the largest takes about half an hour under emulation. */
  installMs: 4 * 3600 * 1000,
  /** Of the end of a failed step's output, in the error. */
  buildTailBytes: 2_000,
  vcpuCountMax: 64,
  memMibMin: 128,
  memMibMax: 1024 * 1024,
} as const;

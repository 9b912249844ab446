import type { Transport } from "@modelcontextprotocol/server";
import type { Readable, Writable } from "node:stream";
import { serverBuilder, type ServerOptions } from "./builder.js";
import type { ServeHttpOptions } from "./http/index.js";
import type { ListenAddress } from "./http/listen-address.js";

/** The MCP server of pyro: one set of tools for both protocol eras. The machines belong to the daemon, not to it. */
export interface PyroMcpServer extends AsyncDisposable {
  /** Where workspaces begin when a call names nothing, and its state: one line for people. */
  readonly projectLine: string;
  /** Serves on standard input and output until the input ends or the signal fires; calls in flight are ended. */
  serveStdio(options?: {
    readonly signal?: AbortSignal | undefined;
    readonly stdin?: Readable | undefined;
    readonly stdout?: Writable | undefined;
  }): Promise<void>;
  /**
   * Serves over Streamable HTTP until the signal fires: to whoever has the token.
   * @throws {PyroError} PORT_TAKEN, PORT_PRIVILEGED; INVALID_ARGUMENT where the address or the token's file cannot be
   * used, or an address beyond the loopback has none; STATE_NOT_PRIVATE, STATE_NOT_WRITABLE
   */
  serveHttp(address: ListenAddress, options: ServeHttpOptions): Promise<void>;
  /** Serves on another transport until that closes or the signal fires. */
  serve(transport: Transport, options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
}

/**
 * The MCP server as an object. Nothing is started or asked before the first call of a tool.
 * @throws {PyroError} INVALID_ARGUMENT for a profile or mode that this version does not have, and for options that
 * exclude each other; PROJECT_NOT_FOUND
 */
export function createServer(options: ServerOptions = {}): PyroMcpServer {
  const builder = serverBuilder(options);
  const serve: PyroMcpServer["serve"] = async (transport, { signal } = {}) => {
    // Loaded here, so that programs that never serve do not pay for it.
    const { serveStdio } = await import("@modelcontextprotocol/server/stdio");
    const handle = serveStdio(builder.build, { transport });
    const closed = new Promise<void>((resolve) => {
      const inner = transport.onclose;
      transport.onclose = () => {
        builder.leave();
        inner?.();
        resolve();
      };
    });
    const close = (): void => {
      builder.leave();
      void handle.close();
    };
    signal?.addEventListener("abort", close, { once: true });
    if (signal?.aborted === true) close();
    await closed;
    signal?.removeEventListener("abort", close);
    await builder.settle();
  };
  return {
    projectLine: builder.projectLine,
    serve,
    serveStdio: async ({ stdin, stdout, signal } = {}) => {
      const { StdioServerTransport } = await import("@modelcontextprotocol/server/stdio");
      await serve(new StdioServerTransport(stdin, stdout), { signal });
    },
    serveHttp: async (address, given) => {
      const { serveHttp } = await import("./http/index.js");
      await serveHttp(builder, address, { ...given, stateDir: options.stateDir });
    },
    [Symbol.asyncDispose]: async () => await builder[Symbol.asyncDispose](),
  };
}

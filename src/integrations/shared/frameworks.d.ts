/**
 * What the integrations use of frameworks whose classes they extend or make: as much of their types as that needs. The
 * frameworks themselves are too large to be installed for every build; in the published declarations these names are the
 * frameworks' own, and test/frameworks compiles and runs against those.
 */

declare module "@langchain/core/tools" {
  interface Config {
    readonly signal?: AbortSignal;
    readonly toolCall?: { readonly id?: string };
  }
  export class DynamicStructuredTool {
    readonly name: string;
    constructor(fields: {
      readonly name: string;
      readonly description: string;
      readonly schema: object;
      readonly responseFormat: "content_and_artifact";
      readonly func: (
        args: unknown,
        manager: unknown,
        config?: Config,
      ) => Promise<readonly [string | object, unknown]>;
    });
  }
}

declare module "@langchain/core/messages" {
  export class ToolMessage {
    readonly tool_call_id: string;
    constructor(fields: {
      readonly content: string;
      readonly name: string;
      readonly tool_call_id: string;
      readonly status: "error";
      readonly artifact: unknown;
    });
  }
}

declare module "deepagents" {
  type FileError = "file_not_found" | "permission_denied" | "is_directory" | "invalid_path";
  export interface ExecuteResponse {
    output: string;
    exitCode: number | null;
    truncated: boolean;
  }
  export interface FileUploadResponse {
    path: string;
    error: FileError | null;
  }
  export interface FileDownloadResponse {
    path: string;
    content: Uint8Array | null;
    error: FileError | null;
  }
  export abstract class BaseSandbox {
    abstract readonly id: string;
    abstract execute(command: string): Promise<ExecuteResponse>;
    abstract uploadFiles(files: [string, Uint8Array][]): Promise<FileUploadResponse[]>;
    abstract downloadFiles(paths: string[]): Promise<FileDownloadResponse[]>;
  }
}

declare module "@anthropic-ai/claude-agent-sdk" {
  export interface McpSdkServerConfigWithInstance {
    readonly type: "sdk";
    readonly name: string;
    readonly instance: unknown;
  }
}

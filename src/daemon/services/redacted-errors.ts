import type { PyroError } from "../../protocol/index.js";
import type { Workspaces } from "../../workspace/index.js";

type Call = (request: unknown, context: unknown) => unknown;

/**
 * The calls of a service about workspaces, whose errors show no secret of the workspace that the call names: in `workspace`,
 * or in that of its `spec`, or, of a stream, in its first message. So do the logs, which see errors after this.
 */
export function withRedactedErrors<Service extends object>(
  service: Service,
  workspaces: Workspaces,
): Service {
  const calls = Object.entries(service as Record<string, Call>).map(
    ([name, call]) => [name, redacted(call, workspaces)] as const,
  );
  return Object.fromEntries(calls) as Service;
}

function redacted(call: Call, workspaces: Workspaces): Call {
  return (request, context) => {
    const named: Named = { reference: referenceOf(request) };
    const shown = (thrown: unknown): unknown => errorOf(thrown, named, workspaces);
    const given = isStream(request) ? noting(request, named) : request;
    let result: unknown;
    try {
      result = call(given, context);
    } catch (thrown) {
      throw shown(thrown) as PyroError;
    }
    if (isStream(result)) return streamed(result, shown);
    return result instanceof Promise
      ? result.catch((thrown: unknown) => Promise.reject(shown(thrown) as PyroError))
      : result;
  };
}

interface Named {
  reference: string | undefined;
}

function errorOf(thrown: unknown, { reference }: Named, workspaces: Workspaces): unknown {
  if (reference === undefined) return thrown;
  try {
    return workspaces.find(reference).secrets.error(thrown);
  } catch {
    // There is none such, or none any more: nothing of it is in the error.
    return thrown;
  }
}

async function* streamed(result: AsyncIterable<unknown>, shown: (thrown: unknown) => unknown) {
  try {
    yield* result;
  } catch (thrown) {
    throw shown(thrown);
  }
}

async function* noting(request: AsyncIterable<unknown>, named: Named) {
  for await (const message of request) {
    named.reference ??= referenceOf(message);
    yield message;
  }
}

/** The workspace that a message names, wherever the messages of this wire do. */
function referenceOf(message: unknown): string | undefined {
  if (typeof message !== "object" || message === null) return undefined;
  const { workspace, spec, request } = message as Partial<Record<"workspace" | "spec" | "request", unknown>>;
  if (typeof workspace === "string" && workspace !== "") return workspace;
  if (request !== undefined) return referenceOf((request as { readonly value?: unknown }).value);
  return spec === undefined ? undefined : referenceOf(spec);
}

function isStream(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}

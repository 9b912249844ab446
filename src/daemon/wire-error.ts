import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { ErrorDetailSchema } from "../protocol/gen/pyro/daemon/v1/error_pb.js";
import { PyroError, type ErrorCode } from "../protocol/index.js";

/** Connect's codes for callers that know nothing of ours; everything else is FailedPrecondition. */
const CONNECT_CODES: Partial<Record<ErrorCode, Code>> = {
  INVALID_ARGUMENT: Code.InvalidArgument,
  ARGUMENT_TOO_LARGE: Code.InvalidArgument,
  AMBIGUOUS_REFERENCE: Code.InvalidArgument,
  PATCH_INVALID: Code.InvalidArgument,
  SEED_ARCHIVE_INVALID: Code.InvalidArgument,
  UNKNOWN_ENVIRONMENT: Code.NotFound,
  RUN_NOT_FOUND: Code.NotFound,
  VM_NOT_FOUND: Code.NotFound,
  WORKSPACE_NOT_FOUND: Code.NotFound,
  WORKSPACE_DELETED: Code.NotFound,
  SEQUENCE_NOT_FOUND: Code.NotFound,
  PROCESS_NOT_FOUND: Code.NotFound,
  SHELL_NOT_FOUND: Code.NotFound,
  COMMAND_NOT_FOUND: Code.NotFound,
  WORKING_DIRECTORY_NOT_FOUND: Code.NotFound,
  COMMAND_REQUIRED: Code.InvalidArgument,
  NO_SHELL_IN_ENVIRONMENT: Code.NotFound,
  GUEST_USER_NOT_FOUND: Code.NotFound,
  GUEST_FILE_NOT_FOUND: Code.NotFound,
  SEED_NOT_FOUND: Code.NotFound,
  PROJECT_NOT_FOUND: Code.NotFound,
  EXPORT_EXISTS: Code.AlreadyExists,
  WORKSPACE_BUSY: Code.ResourceExhausted,
  VM_BUSY: Code.ResourceExhausted,
  CANCELLED: Code.Canceled,
  DEADLINE_EXCEEDED: Code.DeadlineExceeded,
  DAEMON_STOPPING: Code.Unavailable,
  DISK_FULL: Code.ResourceExhausted,
  INTERNAL: Code.Internal,
};

/** A PyroError as it travels to a client: code, hint and details in the error's detail message. */
export function toConnectError(thrown: unknown): ConnectError {
  if (thrown instanceof ConnectError) return thrown;
  const error = PyroError.from(thrown);
  return new ConnectError(error.message, CONNECT_CODES[error.code] ?? Code.FailedPrecondition, undefined, [
    { desc: ErrorDetailSchema, value: errorDetail(error) },
  ]);
}

/** The fields of the wire's error detail. */
export function errorDetail(error: PyroError): {
  code: string;
  message: string;
  hint: string;
  detailsJson: string;
  retryable: boolean;
} {
  const { code, message, hint, details, retryable } = error;
  return { code, message, hint, detailsJson: JSON.stringify(details), retryable };
}

/** The one place where errors of all services become wire errors; `onError` sees each of them. */
export function errorEdge(onError: (method: string, error: PyroError) => void): Interceptor {
  return (next) => async (request) => {
    const convert = (thrown: unknown): ConnectError => {
      // Of a caller that left, whatever broke with it is no news.
      if (!(thrown instanceof ConnectError) && !request.signal.aborted) {
        onError(request.method.name, PyroError.from(thrown));
      }
      return toConnectError(thrown);
    };
    try {
      const response = await next(request);
      if (!response.stream) return response;
      return { ...response, message: convertThrown(response.message, convert) };
    } catch (thrown) {
      throw convert(thrown);
    }
  };
}

async function* convertThrown<T>(
  messages: AsyncIterable<T>,
  convert: (thrown: unknown) => Error,
): AsyncGenerator<T> {
  try {
    yield* messages;
  } catch (thrown) {
    throw convert(thrown);
  }
}

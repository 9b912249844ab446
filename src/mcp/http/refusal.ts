/** What the server says before the protocol begins: a JSON-RPC error of no request, with the status of HTTP. */
export function refusal(
  status: number,
  message: string,
  {
    code = -32_000,
    headers = {},
  }: { readonly code?: number; readonly headers?: Record<string, string> } = {},
): Response {
  return Response.json(refusalBody(message, code), { status, headers });
}

export function refusalBody(message: string, code = -32_000): object {
  return { jsonrpc: "2.0", error: { code, message }, id: null };
}

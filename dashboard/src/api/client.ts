// Requests to the API server that served this page, as the user: nothing else is ever asked, and every answer is what the
// user's own rights give.

import { ApiError } from "./error.ts";
import { expired, token } from "./session.ts";

export interface Options {
  method?: string;
  body?: unknown;
  /** Content type of the body; JSON where nothing is said. */
  type?: string;
  accept?: string;
  signal?: AbortSignal;
  /** Whether it may be sent twice: what only asks. GETs are. */
  repeatable?: boolean;
  /** Whether a 401 ends the session; not so while it is asked who the user is. */
  probing?: boolean;
}

/** Sends one request and gives the answer once its head is here. Throws `ApiError`. */
export async function send(path: string, options: Options = {}): Promise<Response> {
  const headers: Record<string, string> = { Accept: options.accept ?? "application/json" };
  const bearer = token.peek();
  if (bearer) headers["Authorization"] = `Bearer ${bearer}`;
  let body: string | undefined;
  if (options.body !== undefined) {
    headers["Content-Type"] = options.type ?? "application/json";
    body = typeof options.body === "string" ? options.body : JSON.stringify(options.body);
  }
  const request: RequestInit = { method: options.method ?? "GET", headers, cache: "no-store", redirect: "error" };
  if (body !== undefined) request.body = body;
  if (options.signal) request.signal = options.signal;
  const response = await reach(path, request, options.repeatable ?? request.method === "GET");
  if (response.ok) return response;
  const error = await failure(response);
  if (response.status === 401 && !options.probing && token.peek() === bearer) expired();
  throw error;
}

const TRIES = 3;
const PAUSE_MS = 250;

/** Browsers drop requests when the machine's network changes (a laptop wakes, a VPN comes up): what only asks is asked again. */
async function reach(path: string, request: RequestInit, repeatable: boolean): Promise<Response> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await fetch(path, request);
    } catch (error) {
      if (!repeatable || tries === TRIES || request.signal?.aborted) throw error;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * tries));
    }
  }
}

async function failure(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => "");
  try {
    const status = JSON.parse(text);
    if (status.kind === "Status") return new ApiError(response.status, status.reason ?? "", status.message ?? "");
  } catch {
    // Not a Status: a proxy in between, or plain text.
  }
  return new ApiError(response.status, response.statusText, text.trim().slice(0, 400) || `HTTP ${response.status}`);
}

export async function getJson(path: string, options: Options = {}): Promise<any> {
  return (await send(path, options)).json();
}

export async function getText(path: string, options: Options = {}): Promise<string> {
  return (await send(path, { accept: "*/*", ...options })).text();
}

/** The lines of a streamed answer, as they come. */
export async function* lines(response: Response): AsyncGenerator<string> {
  if (!response.body) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let parts: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      const text = done ? decoder.decode() : decoder.decode(value, { stream: true });
      let from = 0;
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", from)) {
        parts.push(text.slice(from, end));
        yield parts.length === 1 ? parts[0]! : parts.join("");
        parts = [];
        from = end + 1;
      }
      if (from < text.length) parts.push(text.slice(from));
      if (done) break;
    }
    if (parts.length > 0) yield parts.join("");
  } finally {
    reader.cancel().catch(() => {}); // the stream may have ended by itself
  }
}

/** What went wrong, for a person. */
export function words(error: unknown): string {
  if (error instanceof ApiError) return error.message || error.reason;
  if (error instanceof TypeError) return "The API server cannot be reached.";
  return error instanceof Error ? error.message : String(error);
}

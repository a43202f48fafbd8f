// The one place that talks to the server: one error type, ended with its page.

/** What could not be had, and the next step in words. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

async function messageOf(response: Response): Promise<string> {
  const text = await response.text();
  try {
    const body = JSON.parse(text) as { error?: string; message?: string };
    return body.error ?? body.message ?? text;
  } catch {
    return text.trim() === "" ? `${response.status} ${response.statusText}` : text.trim();
  }
}

/** A GET whose answer is JSON. Aborting rejects with an AbortError, which callers ignore. */
export async function getJson<T>(
  path: string,
  params: Record<string, string | number | undefined>,
  abort: AbortSignal,
  headers: Record<string, string> = {},
): Promise<T> {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (value !== undefined) query.set(key, String(value));
  }
  const text = query.toString();
  let response: Response;
  try {
    response = await fetch(text === "" ? path : `${path}?${text}`, { signal: abort, headers });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError("the server does not answer; is it running?", 0);
  }
  if (!response.ok) throw new ApiError(await messageOf(response), response.status);
  return (await response.json()) as T;
}

/** Whether a rejection only says that nobody waits any more. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

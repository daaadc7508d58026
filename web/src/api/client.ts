// One way to ask the API: JSON in and out, one error class, a token when there is one.

const TOKEN_KEY = "opendt.token";

/** What the API said was wrong, or that it could not be reached (status 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly type: string,
    message: string,
  ) {
    super(message);
  }
}

export type Params = Record<string, string | number | boolean | null | undefined>;

let token = takeToken();

/** A token given as `#token=…` moves into this tab's storage and out of the address. */
function takeToken(): string {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(TOKEN_KEY, given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return given ?? sessionStorage.getItem(TOKEN_KEY) ?? "";
}

export function setToken(value: string): void {
  token = value.trim();
  if (token) sessionStorage.setItem(TOKEN_KEY, token);
  else sessionStorage.removeItem(TOKEN_KEY);
}

export function hasToken(): boolean {
  return token !== "";
}

export function address(path: string, params: Params = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** A response that is not an error; throws ApiError otherwise. */
export async function request(path: string, options: RequestInit = {}): Promise<Response> {
  const headers = new Headers(options.headers);
  if (token) headers.set("Authorization", `Bearer ${token}`);
  let response: Response;
  try {
    response = await fetch(path, { ...options, headers, credentials: "same-origin" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The API does not answer. Is `opendt api` still running?");
  }
  if (!response.ok) throw await toError(response);
  return response;
}

async function toError(response: Response): Promise<ApiError> {
  const text = await response.text();
  try {
    const body: unknown = JSON.parse(text);
    if (body && typeof body === "object" && "error" in body) {
      const { error, type } = body as { error: unknown; type?: unknown };
      return new ApiError(response.status, String(type ?? "failed"), String(error));
    }
  } catch {
    // Not the API's own error; a proxy may answer with a page.
  }
  return new ApiError(response.status, "failed", `The server answered ${response.status} ${response.statusText}.`);
}

export async function get<T>(path: string, params: Params = {}, signal?: AbortSignal): Promise<T> {
  const response = await request(address(path, params), { signal: signal ?? null });
  return (await response.json()) as T;
}

export async function send<T>(method: "POST" | "PUT", path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  const response = await request(path, {
    method,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: signal ?? null,
  });
  return (await response.json()) as T;
}

/** Fetch something as CSV and hand it to the browser as a file. */
export async function download(path: string, params: Params, name: string, options: RequestInit = {}): Promise<void> {
  const headers = new Headers(options.headers);
  headers.set("Accept", "text/csv");
  const response = await request(address(path, params), { ...options, headers });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name.replace(/[^\w.-]+/g, "_");
  link.click();
  URL.revokeObjectURL(link.href);
}

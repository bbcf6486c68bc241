// Asking the coordinator.

const PATIENCE_MS = 20_000;

// How far the coordinator's clock is ahead of this machine's, in seconds: ages must not depend on who looks.
let offset = 0;

export const now = () => Date.now() / 1000 + offset;

// Return the answer; an error has the coordinator's words, and its HTTP status or 0 when it did not answer.
export async function call(method, url, { body, csrf } = {}) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (csrf) headers["X-AlignFed-CSRF"] = csrf;
  let response;
  let answer;
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    response = await fetch(url, { method, headers, body: body && JSON.stringify(body), cache: "no-store", signal });
    answer = await response.json();
  } catch {
    throw Object.assign(new Error("the coordinator does not answer"), { status: 0 });
  }
  const date = Date.parse(response.headers.get("Date"));
  if (!Number.isNaN(date)) offset = (date + 500 - Date.now()) / 1000; // the header has whole seconds
  if (!response.ok) {
    throw Object.assign(new Error(answer.message ?? "the coordinator refused"), { status: response.status });
  }
  return answer;
}

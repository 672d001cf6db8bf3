// The HTTP API: requests, what is wrong with them, tokens, and the same as curl lines.

const TOKEN = "tidewheel.token";
/** Signing in is asked for once, however many requests need it. */
let signing = null;
/** Whoever does not want to sign in is not asked again by what a page does by itself. */
let declined = false;
let askToken = async () => null;
/** The token where a browser is told to keep nothing. */
let unkept = null;

/** What the API says is wrong: a problem document of RFC 9457. */
export class ApiError extends Error {
  constructor(problem) {
    super(problem.detail ?? problem.title ?? `status ${problem.status}`);
    this.problem = problem;
    this.status = problem.status;
  }
}

/** Says how to ask somebody for a token. */
export function onSignIn(ask) {
  askToken = ask;
}

/** The token of this tab, which is forgotten when it is closed. */
export function token() {
  try {
    return sessionStorage.getItem(TOKEN);
  } catch {
    return unkept;
  }
}

/** Keeps a token, or forgets it. */
export function setToken(value) {
  unkept = value;
  try {
    if (value) sessionStorage.setItem(TOKEN, value);
    else sessionStorage.removeItem(TOKEN);
  } catch {
    // It lasts until the page is left.
  }
  document.dispatchEvent(new Event("token"));
}

/** A part of a path. */
export const part = (text) => encodeURIComponent(String(text));

/** `?a=1&b=2` of what is not null or empty. */
export function queryOf(query) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text ? `?${text}` : "";
}

/** Where it is, also behind a proxy that gives us a folder. */
export function urlOf(path, query) {
  return new URL(path.replace(/^\//, "") + queryOf(query), document.baseURI.split("#")[0]).href;
}

/** A word for the shell that is nothing but a word. */
export const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

/** A request as a line for the shell. The token stays a variable: lines are copied into chats. */
export function curl({ method = "GET", path, query, body, stream }) {
  const words = ["curl"];
  if (stream) words.push("-N");
  if (method !== "GET") words.push("-X", method);
  words.push(quoted(urlOf(path, query)));
  if (token()) words.push("-H", '"Authorization: Bearer $TIDEWHEEL_TOKEN"');
  if (method !== "GET") words.push("-H", quoted("X-Requested-With: curl"));
  if (body !== undefined) words.push("-H", quoted("Content-Type: application/json"), "-d", quoted(JSON.stringify(body)));
  return words.join(" ");
}

/** The headers of a request. */
export function headersOf(method, body) {
  const headers = { Accept: "application/json" };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  if (method !== "GET") headers["X-Requested-With"] = "tidewheel-console";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return headers;
}

/** What a refusal says, whatever stands between us and the broker. */
export async function problemOf(response) {
  try {
    const told = await response.json();
    if (told && typeof told === "object") return { status: response.status, ...told };
  } catch {
    // A proxy has answered.
  }
  return { status: response.status, title: `the answer was ${response.status} ${response.statusText}`.trim() };
}

/** Asks for a token; false where nobody gave one. */
export async function signIn(detail) {
  if (declined) return false;
  signing ??= askToken(detail).finally(() => {
    signing = null;
  });
  const given = await signing;
  if (given) setToken(given);
  else decline(true);
  return Boolean(given);
}

/** Whether nobody is to be asked for a token. */
export function decline(is) {
  declined = is;
  document.dispatchEvent(new Event("token"));
}

/** Whether somebody did not want to sign in. */
export const hasDeclined = () => declined;

/**
 * Sends a request. Asks for a token where one is needed.
 * @returns {Promise<Response>} an answer that is good
 */
export async function send({ method = "GET", path, query, body, signal, accept }) {
  for (;;) {
    const used = token();
    const headers = headersOf(method, body);
    if (accept) headers.Accept = accept;
    const content = body === undefined ? undefined : JSON.stringify(body);
    const response = await fetch(urlOf(path, query), { method, headers, body: content, signal, cache: "no-store", credentials: "same-origin" });
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (response.status !== 401) throw new ApiError(problem);
    // Somebody else may have signed in meanwhile.
    if (token() === used && !(await signIn(used ? problem.detail : null))) throw new ApiError(problem);
  }
}

/** The same, and its JSON. */
export async function call(request) {
  const response = await send(request);
  return response.json();
}

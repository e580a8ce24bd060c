// A single-page app behind fapi-bff, with nothing but the browser's own means.
//
// All it knows about logging in: two calls start and end a login, one asks for the session, one logs
// out. Every call is same-origin and carries the header `x-bff-csrf: 1`. There is no token to keep.

const BFF = "/bff";

// ---- Calling the BFF and the APIs behind it -------------------------------------------------------

class Refusal extends Error {
  constructor(status, { error_code, detailed_error, request_id } = {}) {
    super(detailed_error ? `${error_code} (${detailed_error})` : error_code ?? `status ${status}`);
    this.status = status;
    this.code = error_code;
    this.requestId = request_id;
  }
}

/** Calls `path`; `form` is sent form-encoded, `json` as JSON. Answers the JSON, throws a Refusal. */
async function call(method, path, { form, json } = {}) {
  const headers = { "x-bff-csrf": "1" };
  if (json !== undefined) headers["content-type"] = "application/json";
  const body = form ? new URLSearchParams(form) : json === undefined ? undefined : JSON.stringify(json);
  const started = performance.now();
  let response;
  try {
    response = await fetch(path, { method, headers, body });
  } catch (error) {
    note(method, path, "no answer", started);
    throw error;
  }
  note(method, path, response.status, started);
  const data = await response.json().catch(() => undefined);
  if (!response.ok) throw new Refusal(response.status, data);
  return data;
}

// ---- Login, session, logout -----------------------------------------------------------------------

/** What the authorization server adds to the page's address when it sends the browser back. */
function isLoginAnswer(query) {
  const known = ["response", "code", "state", "iss", "error", "error_description", "error_uri"];
  const has = (name) => query.has(name);
  return [...query.keys()].every((name) => known.includes(name))
    && (has("response") || (has("state") && (has("code") || has("error"))));
}

/** On every page load: either a login ends here, or there may be a session already. */
async function load() {
  const query = new URLSearchParams(location.search);
  if (!isLoginAnswer(query)) return show(await call("GET", `${BFF}/session`));
  // Good for one use; a reload or a bookmark must not repeat it.
  history.replaceState(null, "", location.pathname);
  try {
    show(await call("POST", `${BFF}/login/end`, { form: query }));
  } catch (error) {
    // This login failed; a session of an earlier one may live on.
    show(await call("GET", `${BFF}/session`));
    throw error;
  }
}

async function login() {
  const { authorization_url } = await call("POST", `${BFF}/login/start`);
  location.assign(authorization_url);
}

async function logout() {
  const { logout_url } = await call("POST", `${BFF}/logout`);
  show({ is_logged_in: false });
  // On to the authorization server, which ends its own session and sends the browser back here.
  if (logout_url) location.assign(logout_url);
}

// ---- What the buttons do --------------------------------------------------------------------------

const actions = {
  login,
  logout,

  async "load-accounts"() {
    const { accounts } = await call("GET", "/api/accounts");
    const rows = accounts.map(({ id, name, balance, currency }) => {
      const row = document.createElement("tr");
      const money = new Intl.NumberFormat(undefined, { style: "currency", currency }).format(balance);
      for (const text of [name, id, money]) row.insertCell().textContent = text;
      row.lastChild.className = "amount";
      return row;
    });
    element("accounts").tBodies[0].replaceChildren(...rows);
    element("accounts").hidden = false;
    touched();
  },

  async payment(form) {
    const { creditor, amount } = Object.fromEntries(new FormData(form));
    const payment = await call("POST", "/api/payments", { json: { creditor, amount, currency: "EUR" } });
    element("paid").textContent = `Paid ${payment.amount} ${payment.currency} to ${payment.creditor}.`;
    touched();
  },

  async userinfo() {
    print(await call("GET", `${BFF}/userinfo`));
    touched();
  },

  async refresh() {
    print(await call("POST", `${BFF}/refresh`));
    touched();
  },
};

/** Using the session has moved its idle limit; asking for it does not. */
async function touched() {
  await attempt(async () => show(await call("GET", `${BFF}/session`)));
}

/** Does something and tells the user if it fails. Whoever is no longer logged in sees the login button. */
async function attempt(action, button) {
  element("message").hidden = true;
  if (button) button.disabled = true;
  try {
    await action();
  } catch (error) {
    if (error.status === 401) show({ is_logged_in: false });
    if (!(error instanceof Refusal)) console.error(error);
    const explanation = EXPLANATIONS[error.code] ?? "That did not work.";
    const request = error.requestId ? ` · request ${error.requestId}` : "";
    element("message").textContent = `${explanation} ${error.message}${request}`;
    element("message").hidden = false;
  } finally {
    if (button) button.disabled = false;
  }
}

const EXPLANATIONS = {
  authorization_error: "The login was cancelled or refused.",
  authorization_server_unavailable: "The login service is not available. Try again in a moment.",
  login_rejected: "The login could not be completed. Please log in again.",
  reauthentication_required: "Please log in again.",
  session_expired: "Your session has ended. Please log in again.",
  session_missing: "You are not logged in.",
  transaction_missing: "This login was already completed or took too long. Please log in again.",
};

// ---- What the page shows --------------------------------------------------------------------------

const element = (id) => document.getElementById(id);
let deadlines = {};

/** Shows a session as `login/end` and `session` describe it. */
function show(session) {
  const { is_logged_in, id_token_claims: claims } = session;
  for (const part of document.querySelectorAll("[data-when]")) {
    part.hidden = part.dataset.when !== (is_logged_in ? "in" : "out");
  }
  element("greeting").textContent = is_logged_in ? `Hello, ${claims.name ?? claims.sub}` : "Welcome";
  element("subtitle").textContent = is_logged_in
    ? claims.email ?? `Logged in as ${claims.sub}`
    : "Log in to see your accounts.";
  const at = (seconds) => (is_logged_in && seconds != null ? performance.now() + seconds * 1000 : null);
  deadlines = {
    "session-left": at(session.session_expires_in),
    "idle-left": at(session.idle_expires_in),
    "token-left": at(session.access_token_expires_in),
  };
  if (!is_logged_in) forget();
  tick();
}

/** Nothing of the last user stays on the screen. */
function forget() {
  element("accounts").hidden = true;
  element("accounts").tBodies[0].replaceChildren();
  element("paid").textContent = "";
  element("output").textContent = "";
  element("output").hidden = true;
}

function tick() {
  let over = false;
  for (const [id, deadline] of Object.entries(deadlines)) {
    const left = deadline === null ? null : Math.max(0, Math.ceil((deadline - performance.now()) / 1000));
    element(id).textContent = left === null ? "–" : duration(left);
    // The access token does not matter here: the BFF renews it when an API is called.
    over ||= left === 0 && id !== "token-left";
  }
  if (over) {
    deadlines = {};
    touched();
  }
}

function duration(seconds) {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

function print(value) {
  element("output").textContent = JSON.stringify(value, null, 2);
  element("output").hidden = false;
}

function note(method, path, status, started) {
  const entry = document.createElement("li");
  const time = document.createElement("span");
  time.textContent = ` ${new Date().toLocaleTimeString()} · ${Math.round(performance.now() - started)} ms`;
  entry.append(`${method} ${path} → ${status}`, time);
  entry.className = status < 400 ? "" : "failed";
  element("activity").prepend(entry);
  element("activity").children[20]?.remove();
  showHoldings();
}

function showHoldings() {
  const count = (store) => (store.length === 0 ? "nothing" : `${store.length} entries`);
  element("holds-cookies").textContent = document.cookie === "" ? "empty" : document.cookie;
  element("holds-local").textContent = count(localStorage);
  element("holds-session").textContent = count(sessionStorage);
}

// ---- Start ----------------------------------------------------------------------------------------

for (const [id, action] of Object.entries(actions)) {
  const part = element(id);
  const button = part.querySelector("button") ?? part;
  part.addEventListener(part.tagName === "FORM" ? "submit" : "click", (event) => {
    event.preventDefault();
    attempt(() => action(part), button);
  });
}
setInterval(tick, 1000);
showHoldings();
await attempt(async () => {
  try {
    await load();
  } catch (error) {
    show({ is_logged_in: false });
    throw error;
  }
});

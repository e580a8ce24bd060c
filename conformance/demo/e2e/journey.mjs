// The demo's journey in a real browser: starts the demo, logs in by script and by navigation, calls the
// APIs, logs out, and looks at what the browser was given to keep.
//
//   node journey.mjs DEMO_BINARY [SCREENSHOT_FOLDER]
//
// CHROMIUM names the browser, /usr/bin/chromium if unset.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { chromium } from "playwright-core";

const [demo, folder = "target/e2e"] = process.argv.slice(2);
if (!demo) throw new Error("usage: node journey.mjs DEMO_BINARY [SCREENSHOT_FOLDER]");
mkdirSync(folder, { recursive: true });

const freePort = () => new Promise((resolve, reject) => {
  const server = createServer().once("error", reject).listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => resolve(String(port)));
  });
});

const flags = [];
let app;
for (const name of ["port", "as-port", "mtls-port", "api-port", "page-port", "admin-port"]) {
  const port = await freePort();
  if (name === "port") app = `https://app.localhost:${port}`;
  flags.push(`--${name}`, port);
}
const server = spawn(demo, flags, { stdio: ["ignore", "pipe", "inherit"] });
let browser;
let step = 0;
const ok = (what) => console.log(`ok  ${String(++step).padStart(3)}  ${what}`);

try {
  await new Promise((resolve, reject) => {
    let printed = "";
    server.stdout.on("data", (text) => {
      printed += text;
      if (printed.includes(app)) resolve();
    });
    server.once("exit", (code) => reject(new Error(`the demo ended with ${code}: ${printed}`)));
  });

  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1100, height: 900 } });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (/Content Security Policy|Trusted Type/i.test(message.text())) complaints.push(message.text());
  });
  const shot = (name) => page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  const greeting = () => page.textContent("#greeting");
  const choose = async (name) => {
    await page.waitForURL(/as\.localhost/);
    await page.locator("button", { hasText: name }).first().click();
  };
  const loggedIn = () => page.waitForSelector("#logout:not([hidden])");

  await page.goto(app);
  await page.waitForSelector("#login:not([hidden])");
  await shot("1-before-login");
  ok("the page says nobody is logged in");

  await page.click("#login");
  await page.waitForURL(/as\.localhost/);
  const parameters = [...new URL(page.url()).searchParams.keys()].sort();
  assert.deepEqual(parameters, ["client_id", "request_uri"]);
  await shot("2-authorization-server");
  ok("the authorization server was sent client_id and request_uri, nothing else");

  await choose("Björk");
  await loggedIn();
  assert.match(await greeting(), /Björk Guðmundsdóttir/);
  assert.equal(page.url(), `${app}/`);
  ok("logged in by script; no answer stays in the address bar");

  await page.click("#load-accounts");
  await page.waitForSelector("#accounts:not([hidden])");
  assert.equal(await page.locator("#accounts tbody tr").count(), 2);
  await page.click("#payment button");
  await page.waitForFunction(() => /Paid/.test(document.querySelector("#paid").textContent));
  await shot("3-logged-in");
  ok("the APIs answered");

  const cookies = await context.cookies();
  assert.deepEqual(
    cookies.filter(({ domain }) => domain === "app.localhost")
      .map(({ name, sameSite, httpOnly, secure, path }) => ({ name, sameSite, httpOnly, secure, path })),
    [{ name: "__Host-Http-web", sameSite: "Strict", httpOnly: true, secure: true, path: "/" }],
  );
  assert.equal(await page.evaluate(() => document.cookie), "");
  assert.equal(await page.evaluate(() => localStorage.length + sessionStorage.length), 0);
  ok("the browser keeps one cookie that no script can read");

  await page.reload();
  await loggedIn();
  ok("a reload stays logged in");

  await page.goto(`${app}/bff/callback?response=abc`);
  assert.match(await page.textContent("body"), /transaction_missing/);
  await shot("4-refused");
  ok("an answer nobody asked for is refused with a page that repeats nothing of it");

  await page.goto(`${app}/bff/login?return_to=${encodeURIComponent("/?view=all")}`);
  await choose("Alice");
  await loggedIn();
  assert.equal(page.url(), `${app}/?view=all`);
  assert.match(await greeting(), /Alice/);
  ok("logged in by navigation; the browser is where it wanted to be");

  await page.click("#logout");
  await choose("Sign out");
  await page.waitForSelector("#login:not([hidden])");
  assert.equal(page.url().split("?")[0], `${app}/`);
  assert.equal((await context.cookies()).filter(({ domain }) => domain === "app.localhost").length, 0);
  await shot("5-after-logout");
  ok("logged out here and at the authorization server; no cookie is left");

  assert.deepEqual(complaints, []);
  ok("no script failed and no policy was broken");
  console.log(`all ${step} steps are ok; screenshots are in ${folder}`);
} finally {
  await browser?.close();
  server.kill("SIGTERM");
  await new Promise((resolve) => server.exitCode === null ? server.once("exit", resolve) : resolve());
}

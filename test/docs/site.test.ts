import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { BrowserPage } from "./chromium.js";
import { openSite, type Site } from "./site.js";

let site: Site;
let page: BrowserPage;
beforeAll(async () => {
  site = await openSite();
  page = await BrowserPage.open();
}, 240_000);
afterAll(async () => {
  await page[Symbol.asyncDispose]();
  await site[Symbol.asyncDispose]();
});

/** What was seen of one page. */
interface Seen {
  readonly links: readonly string[];
  readonly ids: readonly string[];
  readonly overflow: number;
  readonly widest: string;
  readonly title: string;
}

const LOOK = `(() => {
  const root = document.documentElement;
  const wide = [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > root.clientWidth + 1);
  return {
    links: [...document.querySelectorAll("a[href]")].map((link) => link.href),
    ids: [...document.querySelectorAll("[id]")].map(({ id }) => id),
    overflow: root.scrollWidth - root.clientWidth,
    widest: wide.slice(-3).map(({ tagName, className }) => tagName + "." + className).join(", "),
    title: document.querySelector("h1")?.textContent ?? "",
  };
})()`;

test("on a phone each page is drawn without an error, a request to elsewhere, a broken link or scrolling sideways", async () => {
  await page.setSize(390, 844, false);
  const seen = new Map<string, Seen>();
  const problems: string[] = [];
  for (const path of site.pages) {
    await page.visit(site.origin + path);
    const found = (await page.evaluate(LOOK)) as Seen;
    seen.set(path, found);
    if (found.title === "") problems.push(`${path}: has no heading`);
    if (found.overflow > 0)
      problems.push(`${path}: ${found.overflow} px wider than the screen: ${found.widest}`);
    for (const { method, params } of page.events) {
      if (method === "Runtime.exceptionThrown")
        problems.push(`${path}: ${JSON.stringify(params["exceptionDetails"])}`);
      if (method === "Log.entryAdded") problems.push(`${path}: ${JSON.stringify(params["entry"])}`);
      if (method === "Runtime.consoleAPICalled" && params["type"] === "error")
        problems.push(`${path}: ${JSON.stringify(params["args"])}`);
      const url = (params["request"] as { url?: string } | undefined)?.url ?? "";
      if (method === "Network.requestWillBeSent" && !url.startsWith(site.origin) && !url.startsWith("data:"))
        problems.push(`${path}: asks ${url}`);
    }
  }
  for (const [path, { links }] of seen) {
    for (const link of links.filter((one) => one.startsWith(site.origin))) {
      const { pathname, hash } = new URL(link);
      const target = seen.get(pathname.endsWith("/") ? `${pathname}index.html` : pathname);
      if (target === undefined) problems.push(`${path}: links ${pathname}, which is no page`);
      else if (hash !== "" && !target.ids.includes(decodeURIComponent(hash.slice(1))))
        problems.push(`${path}: links ${pathname}${hash}, which has no such heading`);
    }
  }
  expect(problems).toEqual([]);
  expect(site.missing).toEqual([]);
  expect(seen.size).toBeGreaterThan(150);
}, 300_000);

test("every Markdown page of docs/ is a page of the site, and in the sidebar or the index of errors", async () => {
  const docs = join(import.meta.dirname, "../../docs");
  const names = await readdir(docs, { recursive: true });
  const wanted = names
    .filter((name) => name.endsWith(".md") && !/(^|\/)(node_modules|\.vitepress)\//.test(name))
    .map((name) => `/${name.replace(/(^|\/)README\.md$/, "$1index.md").replace(/\.md$/, ".html")}`);
  expect(wanted.filter((path) => !site.pages.includes(path))).toEqual([]);
  await page.setSize(1280, 900, false);
  await page.visit(`${site.origin}/troubleshooting.html`);
  const links = ((await page.evaluate(LOOK)) as Seen).links.map((link) => new URL(link).pathname);
  const linked = new Set(links.map((path) => (path.endsWith("/") ? `${path}index.html` : path)));
  expect(site.pages.filter((path) => !linked.has(path))).toEqual([]);
});

test("the search finds an error code, a command and a word, on this machine alone", async () => {
  for (const words of ["GUEST_EDIT_AMBIGUOUS", "workspace fork", "certificates"]) {
    await page.visit(`${site.origin}/install.html`);
    await page.evaluate('document.querySelector("#local-search button").click()');
    await until('document.querySelector("#localsearch-input") !== null');
    await page.evaluate(`(() => {
      const input = document.querySelector("#localsearch-input");
      input.value = ${JSON.stringify(words)};
      input.dispatchEvent(new Event("input", { bubbles: true }));
    })()`);
    await until('document.querySelectorAll(".VPLocalSearchBox .result").length > 0');
    const first = await page.evaluate('document.querySelector(".VPLocalSearchBox .results").textContent');
    expect(String(first).toLowerCase()).toContain(words.toLowerCase().split(" ")[0]);
  }
});

/** PYRO_DOCS_PICTURES=DIR keeps pictures for whoever looks at the site. */
const pictures = process.env["PYRO_DOCS_PICTURES"];
if (pictures !== undefined)
  test("pictures", async () => {
    await mkdir(pictures, { recursive: true });
    for (const [width, height] of [
      [1280, 900],
      [390, 844],
    ] as const) {
      for (const dark of [false, true]) {
        await page.setSize(width, height, dark);
        for (const path of [
          "/index",
          "/first-run",
          "/troubleshooting",
          "/errors/DISK_FULL",
          "/reference/cli",
          "/reference/mcp-tools",
          "/benchmarks",
          "/limitations",
        ]) {
          await page.visit(`${site.origin}${path}.html`);
          const name = `${path.slice(1).replace("/", "-")}-${width}-${dark ? "dark" : "light"}.png`;
          await writeFile(join(pictures, name), await page.picture());
        }
      }
    }
  }, 200_000);

async function until(expression: string): Promise<void> {
  for (let turn = 0; turn < 400; turn++) {
    if ((await page.evaluate(expression)) === true) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`it did not come to: ${expression}`);
}

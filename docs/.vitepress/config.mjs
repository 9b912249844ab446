import { defineConfig } from "vitepress";
import { withoutOutsideLinks } from "./outside-links.mjs";
import { sidebar } from "./sidebar.mjs";

// Builds to docs/.vitepress/dist, which any web server can serve: nothing of it is fetched from elsewhere.
export default defineConfig({
  title: "pyro",
  description: "Disposable virtual machines for coding agents",
  lang: "en",
  // DOCS_BASE=/pyro/ where the site lies below a folder.
  base: process.env.DOCS_BASE ?? "/",
  cleanUrls: false,
  // A link that leads nowhere fails the build; the reader's own machine is no page.
  ignoreDeadLinks: "localhostLinks",
  srcExclude: ["node_modules/**"],
  rewrites: { "use-cases/README.md": "use-cases/index.md" },
  head: [
    ["link", { rel: "icon", type: "image/svg+xml", href: `${process.env.DOCS_BASE ?? "/"}pyro.svg` }],
    ["meta", { name: "theme-color", content: "#c2410c" }],
  ],
  markdown: { config: withoutOutsideLinks, theme: { light: "github-light", dark: "github-dark" } },
  // The pages of errors follow upon nothing: who is there came from a search or the index.
  transformPageData: ({ relativePath }) =>
    relativePath.startsWith("errors/") ? { frontmatter: { prev: false, next: false } } : undefined,
  themeConfig: {
    logo: { src: "/pyro.svg", alt: "" },
    search: { provider: "local" },
    outline: { level: [2, 3] },
    nav: [
      { text: "First run", link: "/first-run" },
      { text: "Reference", link: "/reference/cli", activeMatch: "/reference/" },
      { text: "Troubleshooting", link: "/troubleshooting", activeMatch: "/(errors|troubleshooting)" },
      { text: "Security", link: "/security" },
    ],
    sidebar: sidebar(new URL("..", import.meta.url)),
    docFooter: { prev: "Before", next: "Next" },
    footer: { message: "Apache-2.0. Every command on these pages is run or checked by a test." },
  },
});

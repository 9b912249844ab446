/** What lies beside docs/ in the repository: a reader there follows the link, the site has no such page. */
const OUTSIDE = /^(\.\.\/)+(examples|plugins|src|test|scripts|bench)\//;

/** A plugin of markdown-it: the words of such a link stay, as the path's own text does. */
export function withoutOutsideLinks(md) {
  md.core.ruler.push("outside-links", ({ tokens }) => {
    for (const { children } of tokens) {
      if (children === null) continue;
      let outside = false;
      for (const token of children) {
        if (token.type === "link_open") outside = OUTSIDE.test(token.attrGet("href") ?? "");
        if (!outside || (token.type !== "link_open" && token.type !== "link_close")) continue;
        if (token.type === "link_close") outside = false;
        // A token without a tag that holds nothing.
        Object.assign(token, { type: "text", tag: "", nesting: 0, content: "", attrs: null });
      }
    }
  });
}

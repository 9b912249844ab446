/**
 * A pattern for one name, as Go's filepath.Match has it: `*`, `?`, `[a-z]`, `[^a-z]` and `\` before a character that means
 * itself. Undefined where it has none of them.
 */
export function namePattern(pattern: string): RegExp | undefined {
  if (!/[*?[\\]/.test(pattern)) return undefined;
  let source = "";
  for (let at = 0; at < pattern.length; at += 1) {
    const character = pattern.charAt(at);
    const set = /^\[(\^?)((?:\\.|[^\]\\])+)\]/s.exec(pattern.slice(at));
    if (character === "*") source += ".*";
    else if (character === "?") source += ".";
    else if (set !== null) {
      const [whole, not = "", members = ""] = set;
      source += `[${not}${members.replace(/\\(.)|([[\]^])/gs, (_, escaped: string | undefined, plain: string) => `\\${escaped ?? plain}`)}]`;
      at += whole.length - 1;
    } else {
      if (character === "\\" && at + 1 < pattern.length) at += 1;
      source += pattern.charAt(at).replace(/[\\^$.*+?()[\]{}|/-]/, "\\$&");
    }
  }
  try {
    return new RegExp(`^${source}$`, "s");
  } catch {
    // A range that runs backwards matches nothing.
    return /^(?!)$/;
  }
}

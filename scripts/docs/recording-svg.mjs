// A recording as one SVG: each state of the screen is shown for its time by CSS, over and over.
import xterm from "@xterm/headless";

/** States closer than this are one. */
const FRAME_SECONDS = 0.07;

/** The screen as it was after each event, with the second from which on. */
export async function framesOf(events, { cols, rows }) {
  const terminal = new xterm.Terminal({ cols, rows, allowProposedApi: true, scrollback: 0 });
  const frames = [];
  for (const [index, { at, data }] of events.entries()) {
    await new Promise((resolve) => terminal.write(data, resolve));
    if ((events[index + 1]?.at ?? Infinity) - at < FRAME_SECONDS) continue;
    const lines = screenOf(terminal, rows);
    if (JSON.stringify(frames.at(-1)?.lines) !== JSON.stringify(lines)) frames.push({ at, lines });
  }
  return frames;
}

/** Each line as runs of text in one colour. */
function screenOf(terminal, rows) {
  const buffer = terminal.buffer.active;
  return Array.from({ length: rows }, (_, y) => {
    const line = buffer.getLine(buffer.baseY + y);
    const runs = [];
    for (let x = 0; x < terminal.cols; x++) {
      const cell = line?.getCell(x);
      const color = cell?.isFgPalette() ? cell.getFgColor() : -1;
      const text = cell?.getChars() || " ";
      const last = runs.at(-1);
      if (last?.color === color) last.text += text;
      else runs.push({ color, text });
    }
    const end = runs.at(-1);
    if (end !== undefined && end.color === -1) end.text = end.text.trimEnd();
    return runs.filter(({ text }) => text !== "");
  });
}

const COLORS = {
  1: "#f87171",
  2: "#4ade80",
  3: "#facc15",
  4: "#60a5fa",
  6: "#22d3ee",
  9: "#f87171",
  10: "#4ade80",
};
const WIDTH = 8.4;
const HEIGHT = 18;

/** The SVG; `typed` is its description for whoever does not see it. A line that stands in several states is in it once. */
export function toSvg(frames, { cols }, typed) {
  const rows = Math.max(...frames.map(({ lines }) => lines.findLastIndex((line) => line.length > 0) + 1));
  const total = (frames.at(-1)?.at ?? 0) + 3;
  const size = [Math.ceil(cols * WIDTH + 32), rows * HEIGHT + 32];
  const symbols = new Map();
  const idOf = (line) => {
    const text = line
      .map(({ color, text: run }) =>
        COLORS[color] === undefined ? escaped(run) : `<tspan fill="${COLORS[color]}">${escaped(run)}</tspan>`,
      )
      .join("");
    if (!symbols.has(text)) symbols.set(text, `l${symbols.size}`);
    return symbols.get(text);
  };
  const percent = (seconds) => `${((seconds / total) * 100).toFixed(2)}%`;
  const styles = [];
  const groups = frames.map(({ at, lines }, index) => {
    const [from, to] = [percent(index === 0 ? 0 : at), percent(frames[index + 1]?.at ?? total)];
    const keys =
      index === 0
        ? `0%{opacity:1}${to}{opacity:0}`
        : `0%{opacity:0}${from}{opacity:1}${to}{opacity:${to === "100.00%" ? 1 : 0}}`;
    styles.push(`@keyframes f${index}{${keys}}.f${index}{animation-name:f${index}}`);
    const uses = lines.flatMap((line, y) =>
      line.length === 0 ? [] : [`<use href="#${idOf(line)}" y="${y * HEIGHT}"/>`],
    );
    return `<g class="f f${index}">${uses.join("")}</g>`;
  });
  const defs = [...symbols].map(([text, id]) => `<text id="${id}" xml:space="preserve">${text}</text>`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size[0]} ${size[1]}" role="img">
<title>${escaped(typed.join("; "))}</title>
<style>text{font:14px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#e7e5e4}.f{opacity:0;animation:${total.toFixed(2)}s step-end infinite}${styles.join("")}@media (prefers-reduced-motion:reduce){.f{animation:none}.f:last-of-type{opacity:1}}</style>
<defs>${defs.join("\n")}</defs>
<rect width="100%" height="100%" rx="8" fill="#1c1917"/>
<g transform="translate(16 28)">${groups.join("\n")}</g>
</svg>
`;
}

function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

import { describe, expect, test } from "vitest";
import type { TerminalSize } from "../../../src/workspace/machine-shells.js";
import { ShellScreen } from "../../../src/workspace/shell-screen.js";

const SMALL: readonly TerminalSize[] = [{ offset: 0, cols: 20, rows: 4 }];

/** A screen that was sent text, from byte 0 on. */
async function shown(text: string, sizes = SMALL): Promise<ShellScreen> {
  const screen = await ShellScreen.open(0, sizes);
  await screen.draw(0, Buffer.from(text));
  return screen;
}

const lines = (from: number, to: number): string =>
  Array.from({ length: to - from }, (_, at) => `line ${from + at}\r\n`).join("");
const plain = (from: number, to: number): string => lines(from, to).replaceAll("\r", "");

describe("what a person would see", () => {
  test("a progress bar shows its last state, in one line", async () => {
    const screen = await shown("loading 1%\rloading 50%\rloading 100%\r\ndone\r\n");
    expect(screen.text(0, 1000)).toEqual({ text: "loading 100%\ndone\n", isCut: false });
  });

  test("cursor moves, erasing and colours leave the picture alone", async () => {
    const screen = await shown(
      "\x1b[31mred\x1b[0m\r\nxxxx\x1b[4Dab\x1b[K\x1b[1;10Hright\x1b[3;1H\x07\x1b]0;title\x07end",
    );
    expect(screen.text(0, 1000).text).toBe("red      right\nab\nend\n");
  });

  test("the alternate screen hides what was before, and gives it back", async () => {
    const screen = await shown("before\r\n\x1b[?1049h\x1b[2J\x1b[Hfull screen");
    expect(screen.text(0, 1000).text).toBe("full screen\n");
    await screen.draw(screen.end, Buffer.from("\x1b[?1049lafter"));
    expect(screen.text(0, 1000).text).toBe("before\nafter\n");
  });

  test("characters that lie across two pieces are drawn whole", async () => {
    const screen = await shown("");
    for (const byte of Buffer.from("grün 漢字\x1b[2;1Hx")) await screen.draw(screen.end, Uint8Array.of(byte));
    expect(screen.text(0, 1000).text).toBe("grün 漢字\nx\n");
  });

  test("trailing blanks are left out", async () => {
    expect((await shown("a   \r\n\r\n  b  \r\n\r\n")).text(0, 1000).text).toBe("a\n\n  b\n");
  });
});

describe("lines since a cursor", () => {
  test("what left the screen since then comes first, and the screen behind it", async () => {
    const screen = await shown(lines(0, 10));
    const cursor = screen.end;
    expect(screen.text(0, 10_000).text).toBe(plain(0, 10));
    await screen.draw(cursor, Buffer.from(lines(10, 15)));
    // Three lines and the empty one with the cursor were on the screen, and are now above it.
    expect(screen.text(cursor, 10_000)).toEqual({ text: plain(7, 15), isCut: false });
    expect(screen.text(screen.end, 10_000).text).toBe(plain(12, 15));
  });

  test("a cursor in the middle of what is drawn at once counts as well", async () => {
    const all = Buffer.from(lines(0, 20));
    const cursor = Buffer.byteLength(lines(0, 10));
    const screen = await ShellScreen.open(0, SMALL);
    await screen.draw(0, all, cursor);
    expect(screen.text(cursor, 10_000).text).toBe(plain(7, 20));
  });

  test("lines beyond what is kept are missed, and that is said", async () => {
    const screen = await shown(lines(0, 3));
    const cursor = screen.end;
    await screen.draw(cursor, Buffer.from(lines(3, 5000)));
    const { text, isCut } = screen.text(cursor, 1_000_000);
    expect(isCut).toBe(true);
    expect(text.endsWith("line 4999\n")).toBe(true);
    const [first = ""] = text.split("\n");
    expect(Number(first.slice(5))).toBeGreaterThan(3990 - 10);
    const later = screen.end;
    await screen.draw(later, Buffer.from(lines(5000, 5002)));
    expect(screen.text(later, 10_000)).toEqual({ text: plain(4997, 5002), isCut: false });
  });

  test("what leaves and is gone between two looks is counted, step by step", async () => {
    const screen = await shown("");
    let cursor = 0;
    for (let at = 0; at < 3000; at += 7) {
      await screen.draw(screen.end, Buffer.from(lines(at, at + 7)));
      expect(screen.text(cursor, 10_000)).toEqual({ text: plain(Math.max(0, at - 3), at + 7), isCut: false });
      cursor = screen.end;
    }
  });

  test("the newest text is kept where there is too much", async () => {
    const screen = await shown(lines(0, 10));
    expect(screen.text(0, 16)).toEqual({ text: "line 8\nline 9\n", isCut: true });
    expect(screen.text(0, 3)).toEqual({ text: "e 9", isCut: true });
  });

  test("clearing what lies above the screen takes it away", async () => {
    const screen = await shown(lines(0, 50));
    const cursor = screen.end;
    await screen.draw(cursor, Buffer.from("\x1b[3J\x1b[2J\x1b[Hclean"));
    expect(screen.text(cursor, 10_000).text).toBe("clean\n");
  });

  test("the alternate screen changes no count", async () => {
    const screen = await shown(lines(0, 10));
    const first = screen.end;
    await screen.draw(first, Buffer.from(`\x1b[?1049h\x1b[2J\x1b[H${lines(100, 130)}`));
    expect(screen.text(first, 10_000).text).toBe(plain(127, 130));
    const second = screen.end;
    await screen.draw(second, Buffer.from(`\x1b[?1049l${lines(10, 12)}`));
    expect(screen.text(second, 10_000).text).toBe(plain(7, 12));
  });
});

describe("sizes", () => {
  test("each holds from its byte on", async () => {
    const wide = "0123456789".repeat(3);
    const sizes = [...SMALL, { offset: 30, cols: 40, rows: 4 }];
    const screen = await shown(`${wide}\x1b[2J\x1b[H${wide}`, sizes);
    expect(screen.text(0, 1000).text).toContain(`${wide}\n`);
    const narrow = await shown(`${wide}\r\n`);
    expect(narrow.text(0, 1000).text).toBe("01234567890123456789\n0123456789\n");
    narrow.resize([...SMALL, { offset: 32, cols: 40, rows: 10 }]);
    expect(narrow.text(0, 1000).text).toBe(`${wide}\n`);
  });

  test("a higher screen takes lines back from above, and they were seen", async () => {
    const screen = await shown(lines(0, 20));
    const cursor = screen.end;
    screen.resize([...SMALL, { offset: cursor, cols: 20, rows: 8 }]);
    expect(screen.text(cursor, 10_000).text).toBe(plain(13, 20));
    screen.resize([...SMALL, { offset: cursor, cols: 20, rows: 3 }]);
    expect(screen.text(cursor, 10_000).text).toBe(plain(18, 20));
  });
});

describe("bytes that are gone", () => {
  test("a gap ends what was cut off, and is said of cursors before it", async () => {
    const screen = await shown("one\r\n\x1b[31");
    await screen.draw(100, Buffer.from("two"));
    expect(screen.text(0, 1000)).toEqual({ text: "one\ntwo\n", isCut: true });
    expect(screen.text(100, 1000).isCut).toBe(false);
  });

  test("bytes that come twice are drawn once", async () => {
    const screen = await shown("abc");
    await screen.draw(1, Buffer.from("bcd"));
    expect(screen.text(0, 1000).text).toBe("abcd\n");
  });
});

describe("the picture for another terminal", () => {
  test("shows the same text, colours, cursor and modes", async () => {
    const first = await shown(
      `${lines(0, 6)}\x1b[1;31mbold\x1b[0m \x1b[48;5;22mback\x1b[0m 漢\x1b[?2004h\x1b[?1h\x1b[2;3H`,
    );
    const second = await shown(first.picture());
    expect(second.text(0, 1000).text).toBe(first.text(first.end, 1000).text);
    expect(second.picture()).toBe(first.picture());
    expect(first.picture()).toContain("\x1b[?2004h");
    expect(first.picture().endsWith("\x1b[2;3H")).toBe(true);
  });

  test("keeps the alternate screen apart", async () => {
    const first = await shown("before\r\n\x1b[?1049h\x1b[2J\x1b[H\x1b[7mfull\x1b[0m");
    const second = await shown(`${first.picture()}\x1b[?1049l`);
    expect(second.text(0, 1000).text).toBe("before\n");
  });
});

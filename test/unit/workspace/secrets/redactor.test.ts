import { describe, expect, it } from "vitest";
import { REDACTED, Redactor, type Redaction } from "../../../../src/workspace/secrets/index.js";

/** Random numbers that are the same each time. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
}

const redactor = (...values: string[]): Redactor => new Redactor(values.map((value) => Buffer.from(value)));
const shown = (from: Redactor, text: string): string => from.text(text);

function percentEncoded(value: string, choose: (byte: number) => boolean, lower: boolean): string {
  return [...Buffer.from(value)]
    .map((byte) => {
      const hex = byte.toString(16).padStart(2, "0");
      return choose(byte) ? `%${lower ? hex : hex.toUpperCase()}` : String.fromCharCode(byte);
    })
    .join("");
}

const isReserved = (byte: number): boolean => !/[A-Za-z0-9._~-]/.test(String.fromCharCode(byte));

/** Forms of a value that are to be found, as a whole or as a part of something longer. */
function encoded(value: string, next: (below: number) => number): string {
  switch (next(9)) {
    case 0:
      return percentEncoded(value, isReserved, false);
    case 1:
      return percentEncoded(value, isReserved, true);
    case 2:
      return percentEncoded(value, () => true, next(2) === 0);
    case 3:
      // A sign of `+` is a space in such a text, so that it has to be encoded itself.
      return percentEncoded(value, isReserved, false).replaceAll("%20", "+");
    case 4:
      return percentEncoded(value, (byte) => isReserved(byte) || next(2) === 0, next(2) === 0);
    default:
      return value;
  }
}

describe("the redactor", () => {
  it("takes a value out wherever it stands, once for each place", () => {
    const of = redactor("hunter2-password");
    expect(shown(of, "hunter2-password")).toBe(REDACTED);
    expect(shown(of, "a hunter2-password, hunter2-password.")).toBe(`a ${REDACTED}, ${REDACTED}.`);
    expect(shown(of, "hunter2-passwor")).toBe("hunter2-passwor");
    expect(shown(of, "nothing here")).toBe("nothing here");
  });

  it("finds base64 at each of its three places, in both alphabets, and over lines", () => {
    const value = "s3cr?t>v~lue\u00ff?>";
    const of = redactor(value);
    for (const before of ["", "a", "ab", "abc", "user:"]) {
      for (const alphabet of ["base64", "base64url"] as const) {
        const text = Buffer.from(`${before}${value} and more`).toString(alphabet);
        expect(shown(of, text), `${before} ${alphabet}`).toContain(REDACTED);
        const rest = shown(of, text).split(REDACTED).join("");
        expect(rest.length).toBeLessThan(Buffer.from(`${before} and more`).toString("base64").length + 4);
      }
    }
    const long = "0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789".repeat(2);
    const wrapped = Buffer.from(`key=${long}`)
      .toString("base64")
      .replace(/(.{76})/g, "$1\n");
    expect(wrapped.split("\n").length).toBeGreaterThan(2);
    const left = shown(redactor(long), `${wrapped}\n`);
    expect(left).toMatch(/^.{5,7}\[REDACTED\].?=*\n$/);
  });

  it("finds percent-encoding of all characters or only reserved ones, in both cases, and plus for a space", () => {
    const value = "p@ss word+100%/é";
    const of = redactor(value);
    for (const form of [
      encodeURIComponent(value),
      encodeURIComponent(value).toLowerCase(),
      percentEncoded(value, () => true, false),
      percentEncoded(value, () => true, true),
      new URLSearchParams({ q: value }).toString().slice(2),
      encodeURI("p@ss word+100%25/é").replaceAll("%2525", "%25"),
    ])
      expect(shown(of, `https://x/?q=${form}&r=%41+b`), form).toBe(`https://x/?q=${REDACTED}&r=%41+b`);
    expect(shown(of, "50%%70@ss word+100%/é")).toBe(`50%${REDACTED}`);
    expect(shown(of, "100% %4 %zz %")).toBe("100% %4 %zz %");
  });

  it("covers values that are part of another, overlap or touch", () => {
    const of = redactor("abcd", "abcdefgh", "ghij", "zzzz");
    expect(shown(of, "xabcdefghx")).toBe(`x${REDACTED}x`);
    expect(shown(of, "xabcdx")).toBe(`x${REDACTED}x`);
    expect(shown(of, "xabcdefghijx")).toBe(`x${REDACTED}x`);
    expect(shown(of, "abcdzzzz zzzzzzz")).toBe(`${REDACTED} ${REDACTED}`);
  });

  it("takes a value of several lines out as a whole, and each of its longer lines", () => {
    const of = redactor("-----BEGIN KEY-----\nAAAABBBBCCCC\nshort\nlast line of it\n");
    expect(shown(of, "-----BEGIN KEY-----\nAAAABBBBCCCC\nshort\nlast line of it\n")).toBe(`${REDACTED}\n`);
    expect(shown(of, "-----BEGIN KEY-----\r\nAAAABBBBCCCC\r\nshort\r\nlast line of it\r\n")).toBe(
      `${REDACTED}\r\n`,
    );
    expect(shown(of, "+AAAABBBBCCCC\n+short\n+last line of it")).toBe(`+${REDACTED}\n+short\n+${REDACTED}`);
  });

  it("does not depend on how its input is cut, nor on who goes on with it", () => {
    const values = [
      "tokenabctok",
      "p@ss w%rd+1",
      "abcabcabd",
      "line one of it\nline two of it",
      "ÿþ binary \u0001",
    ];
    const of = redactor(...values);
    const next = random(7);
    for (let round = 0; round < 400; round++) {
      const source = Buffer.from(sourceOf(values, next));
      const whole = Buffer.from(of.bytes(source));
      expect(cut(of.stream(), source, next).equals(whole), source.toString()).toBe(true);
      expect(Buffer.from(of.mask(source)).length).toBe(source.length);
      expect(cut(of.masking(), source, next).equals(Buffer.from(of.mask(source)))).toBe(true);
      for (const value of values) expect(whole.includes(value)).toBe(false);
      // Another process that goes on may only cover more.
      const [before, position] = until(of.stream(), source.subarray(0, next(source.length + 1)));
      const after = cut(of.stream(position), source.subarray(position.taken), next);
      for (const value of values) {
        expect(Buffer.concat([before, after]).includes(value)).toBe(false);
        expect(Buffer.concat([before, after]).toString("latin1")).not.toContain(value.slice(-6));
      }
    }
  });

  it("leaves all else as it is", () => {
    const next = random(11);
    const values = ["correct horse battery", "Tr0ub4dor&3/x"];
    const of = redactor(...values);
    for (let round = 0; round < 300; round++) {
      const parts: string[] = [];
      const expected: string[] = [];
      for (let count = next(6); count >= 0; count--) {
        const junk = `<${Array.from({ length: next(20) }, () => "% +/=eoTr0x\n"[next(12)]).join("")}>`;
        parts.push(junk, encoded(values[next(2)] ?? "", next));
        expected.push(junk, REDACTED);
      }
      expect(shown(of, parts.join(""))).toBe(expected.join(""));
      expect(Buffer.from(of.bytes(Buffer.from(parts.join("")))).toString()).toBe(expected.join(""));
    }
  });

  it("holds nothing back that cannot be the beginning of a secret, and not the ends of lines", () => {
    const of = redactor("secret-value", "Started or not");
    const stream = of.stream();
    expect(text(stream.push(Buffer.from("listening\n")))).toBe("listening\n");
    expect(text(stream.push(Buffer.from("Password: ")))).toBe("Password: ");
    // The last characters begin the base64 of a value, which may go on in the next line.
    const begun = Buffer.from("secret-value").toString("base64").slice(0, 3);
    expect(text(stream.push(Buffer.from(`x ${begun}\n`)))).toBe(`x ${begun}\n`);
    expect(text(stream.push(Buffer.from("yes, sec")))).toBe("yes, ");
    expect(stream.position).toEqual({ taken: 10 + 10 + 6 + 5, covered: undefined });
    expect(text(stream.push(Buffer.from("ret-value")))).toBe(REDACTED);
    expect(text(stream.push(Buffer.from("sec")))).toBe("");
    expect(text(stream.end())).toBe("sec");
  });

  it("masks with as many bytes, and leaves the ends of lines", () => {
    const of = redactor("first line here\nsecond line here", "abcd");
    const masked = of.mask(Buffer.from("<first line here\nsecond line here> abcd."));
    expect(text(masked)).toBe("<[REDACTED]*****\n****************> [RED.");
  });

  it("is linear in hostile input", () => {
    const value = "a".repeat(20_000);
    const of = redactor(value, `${"a".repeat(19_999)}b`);
    const source = Buffer.from(`${"a".repeat(19_998)}c`.repeat(20));
    expect(text(of.bytes(source))).toBe(source.toString());
    const hit = Buffer.from("a".repeat(400_000));
    expect(text(of.bytes(hit))).toBe(REDACTED);
    const stream = of.stream();
    const endless = Buffer.from("YWFh\n\n\n".repeat(100_000));
    expect(stream.push(endless).length).toBeGreaterThan(endless.length - 3 * 30_000);
  });

  it("redacts the strings of a value, and says whether there is a secret in one", async () => {
    const of = redactor("hunter2");
    const value = { name: "hunter2", list: ["x hunter2", 1, null, { deep: true }] };
    expect(of.values(value)).toEqual({ name: REDACTED, list: [`x ${REDACTED}`, 1, null, { deep: true }] });
    expect([of.finds("no"), of.finds("aHVudGVyMg=="), of.finds(Buffer.from("%68unter2"))]).toEqual([
      false,
      true,
      true,
    ]);
    expect(await of.findsIn(pieces("hun", "ter", "2"))).toBe(true);
    expect(await of.findsIn(pieces("hun", "ter"))).toBe(false);
  });

  it("without values changes nothing", () => {
    const data = Buffer.from("anything");
    expect(Redactor.none.bytes(data)).toBe(data);
    expect(Redactor.none.mask(data)).toBe(data);
    const stream = Redactor.none.stream({ taken: 5, covered: undefined });
    expect(stream.push(data)).toBe(data);
    expect(stream.end().length).toBe(0);
    expect(stream.position).toEqual({ taken: 13, covered: undefined });
    expect([Redactor.none.finds(data), Redactor.none.reachBytes]).toEqual([false, 0]);
  });
});

const text = (data: Uint8Array): string => Buffer.from(data).toString();

async function* pieces(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const each of texts) yield await Promise.resolve(Buffer.from(each));
}

/** Secrets in many forms, parts of them, and other text, with nothing between. */
function sourceOf(values: readonly string[], next: (below: number) => number): string {
  const parts: string[] = [];
  for (let count = next(12); count >= 0; count--) {
    const value = values[next(values.length)] ?? "";
    const junk = Array.from({ length: next(12) }, () => "atok%2bc +\n"[next(11)]).join("");
    const kinds = [
      () => encoded(value, next),
      () => value.slice(0, 1 + next(value.length)),
      () => Buffer.from(junk + value).toString(next(2) === 0 ? "base64" : "base64url"),
      () => junk,
    ];
    parts.push((kinds[next(kinds.length)] ?? (() => ""))());
  }
  return parts.join("");
}

function cut(stream: Redaction, source: Buffer, next: (below: number) => number): Buffer {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < source.length;) {
    const to = Math.min(source.length, at + next(1 + next(9)));
    // The caller may use its buffer again.
    const chunk = Buffer.from(source.subarray(at, to));
    parts.push(Buffer.from(stream.push(chunk)));
    chunk.fill(0x21);
    at = to;
  }
  return Buffer.concat([...parts, stream.end()]);
}

function until(stream: Redaction, source: Buffer): [Buffer, Redaction["position"]] {
  const before = Buffer.from(stream.push(source));
  return [before, stream.position];
}

const SHOWN_CHARACTERS = 80;

/** A text as it may be shown in one line whoever wrote it: quoted, escaped, cut. */
export function shown(text: string): string {
  const cut = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
  // JSON leaves DEL, C1, format characters (bidi, zero width, tags), and what no one has a picture of as they are.
  return JSON.stringify(cut).replaceAll(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

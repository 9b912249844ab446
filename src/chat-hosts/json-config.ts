import { parse, printParseErrorCode, type ParseError } from "jsonc-parser";
import { isJsonObject, type JsonObject } from "../kit/index.js";
import { configInvalid, placeOf } from "./config-file.js";

/** What a person does about each mistake. */
const FIXES: Readonly<Record<string, string>> = {
  CommaExpected: "put a comma before it",
  ColonExpected: "put a colon before it",
  PropertyNameExpected: "put a name in double quotes there, or take the comma before it away",
  ValueExpected: "put a value there, or take the comma before it away",
  CloseBraceExpected: "close the object with }",
  CloseBracketExpected: "close the list with ]",
  UnexpectedEndOfString: 'close the text with " on its line',
  UnexpectedEndOfComment: "close the comment with */",
  InvalidCommentToken: "take the comment away: this file is JSON without comments",
  EndOfFileExpected: "take away what stands behind the end",
  InvalidSymbol: "put it in double quotes, or write true, false or null",
};

/** The same where another bracket closes too early. */
const UNCLOSED: Readonly<Record<string, string>> = {
  "CommaExpected}": "close the list with ] before it",
  "CommaExpected]": "close the object with } before it",
};

/**
 * The object that a configuration is. `comments`: JSON with comments and trailing commas.
 * @throws {PyroError} HOST_CONFIG_INVALID with line, column and the fix
 */
export function parseConfig(path: string, text: string, { comments }: { comments: boolean }): JsonObject {
  const errors: ParseError[] = [];
  // An empty file is an empty configuration to those who write comments.
  if (comments && text.trim() === "") return {};
  const value: unknown = parse(text, errors, { disallowComments: !comments, allowTrailingComma: comments });
  const [first] = errors;
  if (first !== undefined) {
    const code = printParseErrorCode(first.error);
    const kind = code.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
    const fix = UNCLOSED[code + (text[first.offset] ?? "")] ?? FIXES[code] ?? "look at what stands there";
    const place = placeOf(text, first.offset);
    throw configInvalid(path, {
      ...place,
      says: `it is not valid ${comments ? "JSON(C)" : "JSON"}: ${kind}`,
      fix: `mend line ${place.line} of ${path}, column ${place.column}: ${fix}`,
    });
  }
  if (isJsonObject(value)) return value;
  throw configInvalid(path, { line: 1, column: 1, says: "it holds no object", fix: "begin it with {" });
}

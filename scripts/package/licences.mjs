import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Licences under which a part may be in the package (SPDX); of Linux alone also GPL-2.0-only, its system calls excepted. */
export const ALLOWED = ["Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "0BSD"];

/** What a licence's text is known by. */
const MARKS = [
  ["Apache-2.0", /Apache License\s+Version 2\.0/],
  ["BSD-3-Clause", /Redistribution and use in source and binary forms[^]*Neither the name/],
  ["MIT", /Permission is hereby granted, free of charge/],
];

/** Packages that bring no text of their licence, and who holds their copyright. */
const HOLDERS = {
  "@bufbuild/protobuf": ["Copyright 2021-2026 Buf Technologies, Inc."],
  "@connectrpc/connect": ["Copyright 2021-2026 The Connect Authors"],
  "@connectrpc/connect-node": ["Copyright 2021-2026 The Connect Authors"],
  "@xterm/headless": [
    "Copyright (c) 2017-2019, The xterm.js authors (https://github.com/xtermjs/xterm.js)",
    "Copyright (c) 2014-2016, SourceLair Private Company (https://www.sourcelair.com)",
    "Copyright (c) 2012-2013, Christopher Jeffrey (https://github.com/chjj/)",
  ],
};

/**
 * Packages that lie within another one's files, without their licence: it, and who holds the copyright. Of one that the
 * build drops again `mark` is a name that the declarations in dist/ would have with it.
 */
export const INLINED = {
  "@cfworker/json-schema": { licence: "MIT", holders: ["Copyright (c) Jeremy Danyow"] },
  "content-type": { licence: "MIT", holders: ["Copyright (c) 2015 Douglas Christopher Wilson"] },
  "json-schema-typed": { mark: "MaybeReadonlyArray" },
};

/** Files of a package that stand under another licence than the rest, which only their first lines say. */
const OWN_HEADERS = { "@bufbuild/protobuf": ["dist/esm/wire/varint.js"] };

const APACHE = "Under the Apache License, Version 2.0: its text is this package's LICENSE.";

/** The names in an SPDX expression of AND. Of OR nothing here has any: it would have to be decided. */
export function licencesIn(expression) {
  return expression.replace(/[()]/g, "").split(" AND ");
}

/** The SPDX expression of all licences that some texts are, or undefined where there is one that is not known. */
export function recognise(texts) {
  const found = texts.map((text) => MARKS.filter(([, mark]) => mark.test(text)).map(([name]) => name));
  if (found.length === 0 || found.some((names) => names.length === 0)) return undefined;
  return [...new Set(found.flat())].sort().join(" AND ");
}

/**
 * The texts that a package asks to be passed on: its licence and notice files, else its copyright lines, with the terms
 * where those are not in pyro's own LICENSE.
 * @param {string} mitTerms the MIT licence without its copyright line
 */
export function textsOf(name, directory, licence, mitTerms) {
  const files = readdirSync(directory).filter((file) => /^(licen[cs]e|notice|patents|copying)/i.test(file));
  const texts = files.sort().map((file) => readFileSync(join(directory, file), "utf8").trim());
  if (texts.length > 0) return texts;
  const holders = HOLDERS[name];
  if (holders === undefined) return [];
  const terms = licence.includes("Apache-2.0") ? APACHE : mitTerms;
  const headers = (OWN_HEADERS[name] ?? []).map((file) => headerOf(join(directory, file)));
  return [`${holders.join("\n")}\n\n${terms}`, ...headers];
}

/** The comment that a source file begins with. */
function headerOf(path) {
  if (!existsSync(path))
    throw new Error(`${path} is no more: see OWN_HEADERS in scripts/package/licences.mjs`);
  const lines = readFileSync(path, "utf8").split("\n");
  const end = lines.findIndex((line) => !line.startsWith("//"));
  return lines
    .slice(0, end)
    .map((line) => line.replace(/^\/\/ ?/, ""))
    .join("\n");
}

/** THIRD-PARTY-NOTICES.md: a table of the parts, then each licence text once, below the names of those that bring it. */
export function notices(found) {
  const rows = found.map(
    ({ name, version, licence, where }) => `| ${name} | ${version} | ${licence} | ${where} |`,
  );
  const byText = new Map();
  for (const { name, texts } of found)
    for (const text of texts) byText.set(text, [...(byText.get(text) ?? []), name]);
  const sections = [...byText].map(
    ([text, names]) => `## ${names.join(", ")}\n\n\`\`\`text\n${text}\n\`\`\``,
  );
  return [
    "# What others wrote and this package contains",
    "pyro itself is under the Apache License, Version 2.0 (LICENSE). Beside it the package contains:",
    ["| part | version | licence | where |", "|---|---|---|---|", ...rows].join("\n"),
    ...sections,
    "",
  ].join("\n\n");
}

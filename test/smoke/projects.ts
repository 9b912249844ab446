import type { Published } from "./published.js";

/** A published project, and how whoever works on it installs and tests it. */
export interface SmokeProject {
  readonly name: string;
  readonly published: Published;
  /** Whether it needs Node or Go, which the environment with compilers does not have. */
  readonly needsTools?: boolean;
  /** Whether its installation reaches registries; else the machine reaches nothing. */
  readonly needsNetwork?: boolean;
  /** A tracked file that is dirty in the checkout. */
  readonly dirty: string;
  readonly install: string;
  readonly test: string;
  /** In what a run prints whose tests pass. */
  readonly green: RegExp;
  /** What breaks it: a text that its file has once. */
  readonly bug: { readonly file: string; readonly from: string; readonly to: string };
  /** A line that the mended file begins with, so that the review has something to show. */
  readonly comment: string;
}

const JS = { needsTools: true, needsNetwork: true, comment: "// looked at in a workspace" } as const;
const NPM = {
  ...JS,
  dirty: "readme.markdown",
  install: "npm install --no-audit --no-fund --no-package-lock",
  test: "npm test",
  green: /^# pass +[1-9]\d*$[^]*^# ok$/m,
} as const;
const PYTHON = { dirty: "README.rst", comment: "# looked at in a workspace" } as const;
const GO = { ...JS, dirty: "README.md", test: "go test ./...", green: /^ok\s+github\.com\//m } as const;
const C = { comment: "/* looked at in a workspace */" } as const;

/** Published projects in four languages; each is small enough that software emulation gets through its tests. */
export const PROJECTS: readonly SmokeProject[] = [
  {
    ...NPM,
    name: "json-stable-stringify",
    published: { from: "npm", spec: "json-stable-stringify@1.0.1" },
    bug: { file: "index.js", from: "objectKeys(node).sort(cmp", to: "objectKeys(node).reverse(cmp" },
  },
  {
    ...NPM,
    name: "deep-equal",
    published: { from: "npm", spec: "deep-equal@1.0.1" },
    bug: { file: "index.js", from: "if (ka.length != kb.length)", to: "if (ka.length == kb.length)" },
  },
  {
    ...PYTHON,
    name: "idna",
    published: { from: "pypi", spec: "idna==3.10" },
    needsNetwork: true,
    install: "python3 -m pip install -q --break-system-packages --root-user-action=ignore --editable .",
    test: "python3 -m unittest discover -s tests -t . 2>&1",
    green: /^Ran [1-9]\d+ tests in [^]*^OK/m,
    bug: { file: "idna/core.py", from: 's.encode("punycode")', to: 's[::-1].encode("punycode")' },
  },
  {
    ...PYTHON,
    name: "simplejson",
    published: { from: "pypi", spec: "simplejson==3.19.3" },
    install: "python3 setup.py -q build_ext --inplace",
    test: "python3 setup.py -q build_ext --inplace && python3 simplejson/tests/__init__.py 2>&1",
    green: /^Ran [1-9]\d+ tests in [^]*^OK/m,
    bug: {
      file: "simplejson/_speedups.c",
      from: 'JSON_InternFromString("true")',
      to: 'JSON_InternFromString("truth")',
    },
    ...C,
  },
  {
    ...GO,
    name: "google/uuid",
    published: { from: "go", spec: "github.com/google/uuid@v1.6.0" },
    install: "go mod download && go build ./...",
    bug: { file: "uuid.go", from: "Version(uuid[6] >> 4)", to: "Version(uuid[6] >> 3)" },
  },
  {
    ...GO,
    name: "hashicorp/go-multierror",
    published: { from: "go", spec: "github.com/hashicorp/go-multierror@v1.1.1" },
    install: "go mod download && go build ./...",
    bug: { file: "multierror.go", from: "\tif len(e.Errors) == 0 {", to: "\tif len(e.Errors) != 0 {" },
  },
  {
    ...C,
    name: "zlib",
    published: { from: "debian", spec: "zlib" },
    dirty: "README",
    install: "./configure && make",
    test: "make test",
    green: /\*\*\* zlib test OK \*\*\*/,
    bug: { file: "uncompr.c", from: "err == Z_STREAM_END ? Z_OK", to: "err == Z_DATA_ERROR ? Z_OK" },
  },
  {
    ...C,
    name: "bzip2",
    published: { from: "debian", spec: "bzip2" },
    dirty: "README",
    install: "make libbz2.a bzip2 bzip2recover",
    test: "make test",
    green: /it looks\s+like you're in business/,
    bug: { file: "compress.c", from: "bsPutUChar ( s, BZ_HDR_h );", to: "bsPutUChar ( s, BZ_HDR_Z );" },
  },
];

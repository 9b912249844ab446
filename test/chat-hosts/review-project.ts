/** A small repository with a checklist to review it by, and an evaluation that ruins the machine it runs on. */
export const REVIEW_PROJECT = {
  files: {
    Makefile: [
      `install:`,
      `\tinstall -D -m 755 tally.py /usr/local/bin/tally`,
      ``,
      `check:`,
      `\t@for name in one more; do python3 -S tally.py cases/$$name.txt | diff - cases/$$name.sum && echo ok $$name; done`,
      ``,
    ].join("\n"),
    "CHECKLIST.md": ["1. make install", "2. make check", "3. sh evaluate.sh", ""].join("\n"),
    "cases/one.txt": "1\n",
    "cases/one.sum": "1\n",
    "cases/more.txt": "1\n20\n300\n",
    "cases/more.sum": "321\n",
    "tally.py": [
      `#!/usr/bin/python3 -S`,
      `"""Adds the numbers of a list."""`,
      `import sys`,
      ``,
      `with open(sys.argv[1]) as file:`,
      `    print(sum(map(int, file)))`,
      ``,
    ].join("\n"),
    "evaluate.sh": [
      `# An upgrade that goes wrong.`,
      `rm -rf cases`,
      `rm /usr/bin/make`,
      `echo 'exit 3' > /etc/profile`,
      `rm -r /usr/local/bin`,
      ``,
    ].join("\n"),
  },
  evaluation: "sh evaluate.sh",
  /** All of the system and the project that may be broken, but for what each machine has of its own. */
  fingerprint:
    "find /workspace /etc /usr/bin /usr/local -type d -printf '%p %m\\n' -o -printf '%p %m %s %T@ %l\\n' | " +
    "grep -vE '^/etc/(hostname|hosts|machine-id) ' | sort | md5sum",
} as const;

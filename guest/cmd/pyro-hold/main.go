// Command pyro-hold holds a memory template for the daemon: it copies the template's files into memory that nobody can
// change any more (sealed memfds) and tells what it copied.
//
//	pyro-hold MEMORY STATE
//
// It prints one line of JSON and stays until its standard input ends. It ends with 3 when the host has no memory for the
// copies, with 1 when a file cannot be read. The daemon opens the copies as
// /proc/PID/fd/N; machines map them privately. A file would not do: QEMU (7.2) opens the backing of private memory for
// writing, so a file would have to be open to the user of each machine, and one that broke out could write into
// the template of all others. A sealed memfd refuses that whoever asks.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

type held struct {
	Descriptor int    `json:"fd"`
	SHA256     string `json:"sha256"`
	SizeBytes  int64  `json:"size_bytes"`
	// What of it is not zero.
	UsedBytes int64 `json:"used_bytes"`
}

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: pyro-hold MEMORY STATE"))
	}
	memory, err := hold("template-memory", os.Args[1])
	if err != nil {
		fail(err)
	}
	state, err := hold("template-state", os.Args[2])
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]held{"memory": memory, "state": state}); err != nil {
		fail(err)
	}
	// The daemon's end, or its wish.
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// noMemory is the exit status when it is the host that lacks something; the files may be as good as ever.
const noMemory = 3

func fail(err error) {
	_, _ = fmt.Fprintln(os.Stderr, "pyro-hold:", err)
	if errors.Is(err, errNoMemory) {
		os.Exit(noMemory)
	}
	os.Exit(1)
}

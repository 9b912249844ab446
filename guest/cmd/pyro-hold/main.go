// Command pyro-hold copies the memory of machines for the daemon, and holds the copies: in memory that nobody can
// change any more (sealed memfds), or in a memory that becomes a machine's own.
//
//	pyro-hold MEMORY STATE            sealed copies of a saved machine, with their digests
//	pyro-hold --fast MEMORY STATE     the same without digests, while a machine waits for it
//	pyro-hold --own MEMORY STATE      the memory can be written: one machine goes on in it
//	pyro-hold --own --fast MEMORY     the same of a memory that is proven already
//	pyro-hold --to FILE MEMORY STATE  a copy of the memory in a new file, sparse and durable, and the digests of both;
//	                                  ends when it is written
//
// It prints one line of JSON and stays until its standard input ends. It ends with 3 when the host has no memory for the
// copies, with 4 when its disk is full, with 1 when a file cannot be read. The daemon opens the copies as
// /proc/PID/fd/N; machines map sealed ones privately. A file would not do: QEMU (7.2) opens the backing of private memory
// for writing, so a file would have to be open to the user of each machine, and one that broke out could write into
// the template of all others. A sealed memfd refuses that whoever asks. A memory of a machine's own is a memfd too: it is
// gone with its last user, however that ends, and there is no file system that could be full or removed below it.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

type held struct {
	// Of the copy in this process; absent where the copy is a file.
	Descriptor *int `json:"fd,omitempty"`
	// Empty where none was asked for.
	SHA256    string `json:"sha256"`
	SizeBytes int64  `json:"size_bytes"`
	// What of it is not zero.
	UsedBytes int64 `json:"used_bytes"`
}

type request struct {
	own, fast bool
	to        string
	paths     []string
}

func main() {
	var r request
	flag.BoolVar(&r.own, "own", false, "the copy of MEMORY can be written")
	flag.BoolVar(&r.fast, "fast", false, "no digests")
	flag.StringVar(&r.to, "to", "", "copy MEMORY into this new file")
	flag.Parse()
	r.paths = flag.Args()
	if len(r.paths) < 1 || len(r.paths) > 2 || (r.to != "" && (r.own || r.fast || len(r.paths) != 2)) {
		fail(fmt.Errorf("usage: pyro-hold [--own] [--fast] MEMORY [STATE] | --to FILE MEMORY STATE"))
	}
	answer, err := r.copies()
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		fail(err)
	}
	if r.to != "" {
		return
	}
	// The daemon's end, or its wish.
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func (r request) copies() (map[string]held, error) {
	if r.to != "" {
		memory, err := store(r.to, r.paths[0])
		if err != nil {
			return nil, err
		}
		state, err := examine(r.paths[1])
		return map[string]held{"memory": memory, "state": state}, err
	}
	name := "pyro-memory"
	if r.own {
		// By which the daemon finds it among what a machine has open (src/vmm/memory/holder.ts).
		name = "pyro-own-memory"
	}
	memory, err := hold(name, r.paths[0], holding{writable: r.own, digest: !r.fast})
	if err != nil {
		return nil, err
	}
	answer := map[string]held{"memory": memory}
	if len(r.paths) == 2 {
		if answer["state"], err = hold("pyro-state", r.paths[1], holding{digest: !r.fast}); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// Exit statuses when it is the host that lacks something; the files may be as good as ever.
const (
	noMemory = 3
	diskFull = 4
)

func fail(err error) {
	_, _ = fmt.Fprintln(os.Stderr, "pyro-hold:", err)
	switch {
	case errors.Is(err, errNoMemory):
		os.Exit(noMemory)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EFBIG):
		os.Exit(diskFull)
	}
	os.Exit(1)
}

package shell

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Whether a program waits for a terminal is told by the system call that it is in. Only a wait without end, and for
// nothing but the terminal, counts: a program that wakes up by itself, or by something else, has more to do.

// groupReads tells whether a process of the group waits for the terminal of that number.
func groupReads(group int, terminal uint32) bool {
	// Most groups have one process, or their first one reads.
	if processReads(group, terminal) {
		return true
	}
	proc, err := os.Open("/proc")
	if err != nil {
		return false
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return false
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == group {
			continue
		}
		if in, err := unix.Getpgid(pid); err == nil && in == group && processReads(pid, terminal) {
			return true
		}
	}
	return false
}

func processReads(pid int, terminal uint32) bool {
	process := fmt.Sprintf("/proc/%d", pid)
	number, args, ok := systemCall(process)
	if !ok {
		return false
	}
	switch number {
	case unix.SYS_READ, unix.SYS_READV:
		return isTerminal(process, int32(args[0]), terminal)
	case unix.SYS_SELECT, unix.SYS_PSELECT6:
		return args[4] == 0 && selectsTerminal(process, int(args[0]), args[1], terminal)
	case unix.SYS_POLL:
		return int32(args[2]) < 0 && pollsTerminal(process, args[0], args[1], terminal)
	case unix.SYS_PPOLL:
		return args[2] == 0 && pollsTerminal(process, args[0], args[1], terminal)
	default:
		return false
	}
}

// systemCall is the system call that a process waits in, from /proc/PID/syscall: its number and six arguments.
func systemCall(process string) (number uint64, args [6]uint64, ok bool) {
	content, err := os.ReadFile(process + "/syscall")
	if err != nil {
		return 0, args, false
	}
	return parseSystemCall(content)
}

func parseSystemCall(content []byte) (number uint64, args [6]uint64, ok bool) {
	fields := bytes.Fields(content)
	// "running", or "-1 SP PC" outside of a system call.
	if len(fields) < 1+len(args) {
		return 0, args, false
	}
	number, err := strconv.ParseUint(string(fields[0]), 10, 64)
	if err != nil {
		return 0, args, false
	}
	for i := range args {
		if args[i], err = strconv.ParseUint(string(fields[1+i]), 0, 64); err != nil {
			return 0, args, false
		}
	}
	return number, args, true
}

// Device numbers: pseudo-terminals are 136:0 and on, 256 to a major; 5:0 is the controlling terminal, whichever it is.
const (
	firstTerminalMajor = 136
	terminalsPerMajor  = 256
)

func isTerminal(process string, fd int32, terminal uint32) bool {
	var stat unix.Stat_t
	if fd < 0 || unix.Stat(fmt.Sprintf("%s/fd/%d", process, fd), &stat) != nil || stat.Mode&unix.S_IFMT != unix.S_IFCHR {
		return false
	}
	return stat.Rdev == unix.Mkdev(firstTerminalMajor+terminal/terminalsPerMajor, terminal%terminalsPerMajor) ||
		stat.Rdev == unix.Mkdev(5, 0)
}

// Descriptors beyond these are looked at by no program that waits for a terminal alone.
const (
	maxSelected = 1024
	maxPolled   = 16
)

func selectsTerminal(process string, count int, at uint64, terminal uint32) bool {
	if count <= 0 || count > maxSelected || at == 0 {
		return false
	}
	set := make([]byte, (count+7)/8)
	if !readMemory(process, at, set) {
		return false
	}
	found := false
	for fd := range count {
		if set[fd/8]&(1<<(fd%8)) == 0 {
			continue
		}
		if !isTerminal(process, int32(fd), terminal) {
			return false
		}
		found = true
	}
	return found
}

func pollsTerminal(process string, at, count uint64, terminal uint32) bool {
	const entryBytes = 8
	if count == 0 || count > maxPolled {
		return false
	}
	entries := make([]byte, count*entryBytes)
	if !readMemory(process, at, entries) {
		return false
	}
	found := false
	for ; len(entries) > 0; entries = entries[entryBytes:] {
		fd, events := int32(binary.NativeEndian.Uint32(entries)), binary.NativeEndian.Uint16(entries[4:])
		if fd < 0 {
			continue
		}
		if events&unix.POLLIN == 0 || !isTerminal(process, fd, terminal) {
			return false
		}
		found = true
	}
	return found
}

func readMemory(process string, at uint64, into []byte) bool {
	memory, err := os.Open(process + "/mem")
	if err != nil {
		return false
	}
	defer memory.Close()
	n, err := unix.Pread(int(memory.Fd()), into, int64(at))
	return err == nil && n == len(into)
}

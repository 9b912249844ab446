package system

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxSmallFileBytes bounds what is read of a file that is to be changed; a larger one is left alone.
const maxSmallFileBytes = 1 << 20

// writeIdentity puts host name, machine id and name resolution into the root. A full or odd disk must not keep the
// machine from being used, so a failure is only told.
func (s *Service) writeIdentity() {
	// An image of one program has none.
	failures := []error{s.makeTop("etc")}
	if s.hostname != "" {
		failures = append(failures,
			s.updateFile("/etc/hostname", func([]byte) []byte { return []byte(s.hostname + "\n") }),
			s.updateFile("/etc/hosts", func(old []byte) []byte { return hostsWith(old, s.hostname) }))
	}
	if s.machineID != "" {
		failures = append(failures, s.updateFile("/etc/machine-id", func([]byte) []byte { return []byte(s.machineID + "\n") }))
	}
	failures = append(failures, s.updateFile("/etc/resolv.conf", resolvConf))
	if err := errors.Join(failures...); err != nil {
		s.options.Log.Printf("write the machine's identity: %v", err)
	}
}

// resolvConf keeps what the environment brings. The name server of an empty one is this machine: with no network it
// refuses at once, where no file at all would mean the same with a longer wait in some libraries.
func resolvConf(old []byte) []byte {
	if len(bytes.TrimSpace(old)) > 0 {
		return old
	}
	return []byte("nameserver 127.0.0.1\n")
}

// hostsWith gives the hosts file with localhost and the name in it; other lines stay as they are.
func hostsWith(old []byte, hostname string) []byte {
	// Debian's place for a name without an address of its own.
	const ownAddress = "127.0.1.1"
	var out strings.Builder
	hasLocalhost := false
	for line := range strings.Lines(string(old)) {
		line = strings.TrimRight(line, "\n")
		content, _, _ := strings.Cut(line, "#")
		fields := strings.Fields(content)
		if len(fields) > 0 && fields[0] == ownAddress {
			continue
		}
		if len(fields) > 1 && fields[0] == "127.0.0.1" && slices.Contains(fields[1:], "localhost") {
			hasLocalhost = true
		}
		fmt.Fprintln(&out, line)
	}
	head := ""
	if !hasLocalhost {
		head = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	}
	return []byte(head + out.String() + ownAddress + "\t" + hostname + "\n")
}

// Rewrite changes a small file within the root, where there is one of the machine's own and change gives another content:
// nil, as it is told of one that is missing, for no file. Writes that are held go on then: the machine is somebody's who wants them.
func (s *Service) Rewrite(path string, change func(old []byte) []byte) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.root == "" || !s.options.OwnsRoot {
		return nil
	}
	return s.updateFile(path, func(old []byte) []byte {
		content := change(old)
		if !bytes.Equal(old, content) || (content == nil) != (old == nil) {
			if _, err := s.letGo(); err != nil {
				s.options.Log.Printf("let the writes to the root go on: %v", err)
			}
		}
		return content
	})
}

// updateFile rewrites a small file within the root, where that changes it. A link that leads nowhere is replaced.
func (s *Service) updateFile(path string, change func(old []byte) []byte) error {
	old, err := s.readSmall(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	missing := err != nil
	content := change(old)
	if content == nil {
		if missing {
			return nil
		}
		return s.remove(path)
	}
	if !missing && bytes.Equal(old, content) {
		return nil
	}
	// Cut after the write, where it was longer: ext4 writes a file out at once that was cut to nothing and is closed.
	fd, err := s.options.Root.Open(path, unix.O_WRONLY|unix.O_CREAT, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		if fd, err = s.replaceLink(path); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	defer unix.Close(fd)
	if n, err := unix.Write(fd, content); err != nil || n < len(content) {
		return fmt.Errorf("write %s: %d of %d bytes: %w", path, n, len(content), err)
	}
	if len(old) > len(content) {
		return unix.Ftruncate(fd, int64(len(content)))
	}
	return nil
}

// openParent opens the directory that a file is in.
func (s *Service) openParent(path string) (parent int, name string, err error) {
	directory, name := filepath.Split(path)
	parent, err = s.options.Root.Open(directory, unix.O_PATH|unix.O_DIRECTORY, 0)
	return parent, name, err
}

func (s *Service) remove(path string) error {
	parent, name, err := s.openParent(path)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	return unix.Unlinkat(parent, name, 0)
}

func (s *Service) replaceLink(path string) (int, error) {
	parent, name, err := s.openParent(path)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	_ = unix.Unlinkat(parent, name, 0)
	fd, err := unix.Openat(parent, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return -1, &os.PathError{Op: "create", Path: path, Err: err}
	}
	return fd, nil
}

func (s *Service) readSmall(path string) ([]byte, error) {
	// O_NONBLOCK: the environment may have a FIFO there.
	fd, err := s.options.Root.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if stat.Size > maxSmallFileBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxSmallFileBytes)
	}
	// Nothing else runs yet that could write to it. Not through os.File, which would tell Go's poller of it first.
	content := make([]byte, stat.Size)
	n, err := unix.Read(fd, content)
	return content[:max(n, 0)], err
}

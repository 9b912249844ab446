package archive

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// Names with which a layer hides what the layers below it brought (OCI image specification, "layer.md").
const (
	whiteoutPrefix = ".wh."
	metaPrefix     = ".wh..wh."
	opaqueName     = ".wh..wh..opq"
)

// layerState is what one layer has unpacked so far: its whiteouts hide lower layers only, wherever in the archive
// they stand. It is kept only where there are lower layers.
type layerState struct {
	// By canonical path, with all directories above.
	own map[string]struct{}
}

func (s *layerState) add(canonical string) {
	if s == nil {
		return
	}
	for canonical != "" {
		if _, known := s.own[canonical]; known {
			return
		}
		s.own[canonical] = struct{}{}
		canonical, _ = splitName(canonical)
	}
}

func (s *layerState) has(canonical string) bool {
	_, known := s.own[canonical]
	return known
}

// whiteout applies a whiteout entry; handled is false for every other name.
func (u *unpacker) whiteout(directoryName, base string) (handled bool, err error) {
	if !u.options.Layer {
		return false, nil
	}
	hidden, ok := strings.CutPrefix(base, whiteoutPrefix)
	if strings.HasPrefix(directoryName, metaPrefix) || base != opaqueName && strings.HasPrefix(base, metaPrefix) {
		// Other notes of union file systems are no files.
		return true, nil
	}
	if !ok {
		return false, nil
	}
	if hidden == "" || hidden == "." || hidden == ".." {
		return true, ErrWhiteout
	}
	if u.layer == nil {
		return true, nil
	}
	parent, err := u.tree.lookup(directoryName)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		// Nothing below a directory that is not there can be hidden, nor is it made for that.
		return true, nil
	}
	if err != nil {
		return true, err
	}
	if base == opaqueName {
		return true, u.hideChildren(parent)
	}
	canonical := joinName(parent.canonical, hidden)
	_, err = removeAll(parent.fd, hidden, canonical, u.layer.has)
	u.tree.forget()
	return true, err
}

// hideChildren empties the directory of everything that lower layers brought.
func (u *unpacker) hideChildren(parent *directory) error {
	if u.layer == nil {
		return nil
	}
	fd, err := unix.Openat(parent.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	handle := newFile(fd, parent.canonical)
	defer handle.Close()
	err = removeChildren(handle, parent.canonical, u.layer.has)
	u.tree.forget()
	return err
}

func joinName(directory, base string) string {
	if directory == "" {
		return base
	}
	return directory + "/" + base
}

package archive

import (
	"errors"
	"fmt"
	"strings"
)

// Reasons to refuse an entry.
var (
	ErrEmptyName   = errors.New("its name is empty")
	ErrAbsolute    = errors.New("its name is absolute")
	ErrParent      = errors.New(`its name contains ".."`)
	ErrNUL         = errors.New("its name contains a NUL byte")
	ErrOutside     = errors.New("its path leads outside of the directory")
	ErrLinkTarget  = errors.New("its link target is empty or too long")
	ErrUnknownType = errors.New("its type is unknown")
	ErrWhiteout    = errors.New("it is a whiteout of no file, or has the name of one on its way")
	ErrNotEmpty    = errors.New("a directory that is not empty is in its place")
	ErrOwner       = errors.New("its owner is no user or group id of Linux")
	ErrDevice      = errors.New("its device number is none of Linux")
)

// EntryError says which entry could not be unpacked, and why.
type EntryError struct {
	Name string
	Err  error
}

func (e *EntryError) Error() string { return fmt.Sprintf("entry %q: %v", clipName(e.Name), e.Err) }

func (e *EntryError) Unwrap() error { return e.Err }

func clipName(name string) string {
	if len(name) > 200 {
		return name[:200] + "…"
	}
	return name
}

// cleanName gives the parts of a name joined by single slashes; "" is the directory itself. A layer may name its
// entries from the root.
func cleanName(name string, layer bool) (string, error) {
	switch {
	case name == "":
		return "", ErrEmptyName
	case len(name) > maxPathBytes:
		return "", ErrNameTooLong
	case strings.IndexByte(name, 0) >= 0:
		return "", ErrNUL
	case name[0] == '/' && !layer:
		return "", ErrAbsolute
	}
	depth := 0
	clean := true
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == ".":
			clean = false
		case part == "..":
			return "", ErrParent
		case len(part) > maxNameBytes:
			return "", ErrNameTooLong
		default:
			depth++
		}
	}
	if depth > maxDepth {
		return "", ErrTooDeep
	}
	if clean {
		return name, nil
	}
	parts := make([]string, 0, depth)
	for part := range strings.SplitSeq(name, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "/"), nil
}

// splitName gives the directory, "" for the top, and the last part.
func splitName(clean string) (directory, base string) {
	if at := strings.LastIndexByte(clean, '/'); at >= 0 {
		return clean[:at], clean[at+1:]
	}
	return "", clean
}

package rootdir

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// View is the part of a root that a call may reach: all of it, or what lies beneath one directory.
type View struct {
	root Root
	// As the caller named it.
	directory string
	// Where it really is, as the agent sees it; empty where everything is in reach.
	real string
}

// OutsideError says that a path led out of the directory that a call was bound to.
type OutsideError struct{ Directory string }

func (e *OutsideError) Error() string { return fmt.Sprintf("it leads out of %q", e.Directory) }

// Within binds paths to a directory of the root; "" binds them to nothing but the root.
func (r Root) Within(directory string) (View, error) {
	if directory == "" {
		return View{root: r}, nil
	}
	fd, err := r.Open(directory, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return View{}, err
	}
	defer unix.Close(fd)
	real, err := locate(fd)
	if err != nil {
		return View{}, err
	}
	return View{r, directory, real}, nil
}

// Open opens a guest path, and refuses with an OutsideError what is not beneath the directory. The kernel resolves
// links, absolute ones too, and then tells where it came to: a comparison of texts would know nothing of links, and
// RESOLVE_BENEATH would refuse an absolute link that stays inside. Whoever moves the thing in between moves what is
// open already: the answer was true once, and the descriptor is the thing that it was true of.
func (v View) Open(path string, flags uint64) (int, error) {
	fd, err := v.root.Open(path, flags, 0)
	if err != nil {
		return -1, err
	}
	if err := v.Check(fd); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// OpenAnywhere opens what is on the way to the directory too: nothing may be read, made or changed there without Check.
func (v View) OpenAnywhere(path string, flags uint64) (int, error) {
	return v.root.Open(path, flags, 0)
}

// Check tells whether an open thing is the directory or beneath it.
func (v View) Check(fd int) error {
	if v.real == "" || v.real == "/" {
		return nil
	}
	at, err := locate(fd)
	if err != nil {
		return err
	}
	if at == v.real || strings.HasPrefix(at, v.real) && at[len(v.real)] == '/' {
		return nil
	}
	return &OutsideError{v.directory}
}

// locate is where an open thing is, links resolved. What was removed has " (deleted)" behind its name.
func locate(fd int) (string, error) {
	at := make([]byte, unix.PathMax)
	n, err := unix.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd), at)
	if err != nil {
		return "", fmt.Errorf("find out where a file is: %w", err)
	}
	return string(at[:n]), nil
}

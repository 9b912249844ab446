package clone

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/rootdir"
)

// directory is what is set once nothing is made in it any more: its time would change, and what is made would inherit.
type directory struct {
	path       string
	attributes attributes
}

// remember reads the attributes of a directory, to be set at the end.
func (c *copier) remember(path string, parent int, name string, stat *unix.Statx_t) error {
	if stat == nil {
		stat = &unix.Statx_t{}
		if err := unix.Statx(parent, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, stat); err != nil {
			return err
		}
	}
	read, err := readAttributes(parent, name, stat)
	if err != nil {
		return err
	}
	c.directories = append(c.directories, directory{path, read})
	return nil
}

// finishDirectories begins with what was made last: what is in a directory changes nothing of it any more then.
func (c *copier) finishDirectories() error {
	for _, each := range slices.Backward(c.directories) {
		directory, base := split(each.path)
		if base == "" {
			base = "."
		}
		parent, err := c.enter(directory)
		if err == nil {
			err = each.attributes.write(parent, base)
		}
		if err != nil {
			return fmt.Errorf("finish %q: %w", each.path, err)
		}
	}
	return nil
}

// enter opens a directory of the target, which stays open until another is entered.
func (c *copier) enter(path string) (int, error) {
	if c.parent >= 0 && c.parentPath == path {
		return c.parent, nil
	}
	fd, err := c.open(path)
	if err != nil {
		return -1, err
	}
	c.leave()
	c.parent, c.parentPath = fd, path
	return fd, nil
}

func (c *copier) leave() {
	if c.parent >= 0 {
		_ = unix.Close(c.parent)
	}
	c.parent = -1
}

func (c *copier) open(path string) (int, error) {
	const resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS
	return rootdir.OpenAt(c.top, "./"+path, unix.O_RDONLY|unix.O_DIRECTORY, 0, resolve)
}

// split gives the directory, with its slash, and the name in it.
func split(path string) (directory, base string) {
	at := strings.LastIndexByte(path, '/') + 1
	return path[:at], path[at:]
}

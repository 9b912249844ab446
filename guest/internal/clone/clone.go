// Package clone copies the tree of one file system into an empty one of the same kind, inside the machine.
//
// Invariants:
//   - no link is followed, on either side, and nothing but directories and regular files is opened;
//   - types, owners, modes, times, extended attributes, links between names and holes are kept;
//   - what a rule leaves out or changes never reaches the target.
//
// Nothing may change either tree meanwhile.
package clone

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/walk"
)

const bufferBytes = 128 << 10

// RewrittenBytes is the size beyond which a file is not given to Options.Rewrite: it is none of ours.
const RewrittenBytes = 4 << 20

// Options of a copy. Paths are those from the top, without a slash in front.
type Options struct {
	// Skip tells whether something is left out, a directory with all that is below it.
	Skip func(path string, isDirectory bool) bool
	// Rewrite gives another content for a regular file of that path: nil for none, which leaves the file out. Where it
	// gives nil instead of a function, the file is copied as it is.
	Rewrite func(path string) func(old []byte) []byte
	// Tell is called with each path, and of links with their target; then without one with the bytes of that file, which
	// are good until it returns. Nil: nobody listens.
	Tell func(path, target string, data []byte) error
	// Known tells whether the content of a file need not be told. Nil: none is.
	Known func(path string, stat *unix.Statx_t) bool
	// Progress is called with the bytes of each piece that was copied.
	Progress func(bytes int)
}

// Tree copies what is below one open directory to below another, and the attributes of the directory itself. It gives the
// number of what was copied. Sockets are left out: nobody listens on them any more.
func Tree(ctx context.Context, from, to int, options Options) (entries uint64, err error) {
	c := &copier{
		ctx: ctx, options: options, top: to, parent: -1, links: make(map[inode]string), buffer: make([]byte, bufferBytes),
	}
	defer c.leave()
	if err := c.remember("", from, ".", nil); err != nil {
		return 0, fmt.Errorf("copy the root: %w", err)
	}
	tooMuch := func(path []byte, err error) error { return fmt.Errorf("copy %q: %w", path, err) }
	if err := walk.Down(from, true, c.visit, tooMuch); err != nil {
		return 0, err
	}
	if err := c.finishDirectories(); err != nil {
		return 0, err
	}
	return c.entries, nil
}

// inode tells which names are of one file.
type inode struct {
	major, minor uint32
	number       uint64
}

type copier struct {
	ctx     context.Context
	options Options
	top     int
	// The directory that was written to last, and its path; -1 where there is none.
	parent     int
	parentPath string
	// Of directories that are left out, with a slash behind it, while the walk is below it.
	skipped string
	// By their first names.
	links       map[inode]string
	directories []directory
	buffer      []byte
	entries     uint64
}

func (c *copier) visit(at walk.Visited) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	path, name := string(at.Path), string(at.Name)
	if c.skipped != "" && strings.HasPrefix(path, c.skipped) {
		return nil
	}
	kind := at.Stat.Mode & unix.S_IFMT
	if c.options.Skip(path, kind == unix.S_IFDIR) {
		if kind == unix.S_IFDIR {
			c.skipped = path + "/"
		}
		return nil
	}
	if kind == unix.S_IFSOCK {
		return nil
	}
	if err := c.entry(at, path, name); err != nil {
		if errors.Is(err, errLeftOut) {
			return nil
		}
		return fmt.Errorf("copy %q: %w", path, err)
	}
	c.entries++
	return nil
}

// errLeftOut says that a rewrite left nothing of a file.
var errLeftOut = errors.New("left out")

func (c *copier) entry(at walk.Visited, path, name string) error {
	kind := at.Stat.Mode & unix.S_IFMT
	target := ""
	var err error
	if kind == unix.S_IFLNK {
		if target, err = readLink(at.Parent, name, at.Stat.Size); err != nil {
			return err
		}
	}
	if c.options.Tell != nil {
		if err := c.options.Tell(path, target, nil); err != nil {
			return err
		}
	}
	parent, err := c.enter(path[:len(path)-len(name)])
	if err != nil {
		return err
	}
	self := inode{at.Stat.Dev_major, at.Stat.Dev_minor, at.Stat.Ino}
	if kind != unix.S_IFDIR && at.Stat.Nlink > 1 {
		if first, known := c.links[self]; known {
			return c.link(first, parent, name)
		}
	}
	switch kind {
	case unix.S_IFDIR:
		if err := unix.Mkdirat(parent, name, 0o700); err != nil {
			return err
		}
		return c.remember(path, at.Parent, name, at.Stat)
	case unix.S_IFREG:
		err = c.file(at, path, parent, name)
	case unix.S_IFLNK:
		err = unix.Symlinkat(target, parent, name)
	default:
		device := unix.Mkdev(at.Stat.Rdev_major, at.Stat.Rdev_minor)
		err = unix.Mknodat(parent, name, uint32(kind)|0o600, int(device))
	}
	if err != nil {
		return err
	}
	if at.Stat.Nlink > 1 {
		c.links[self] = path
	}
	read, err := readAttributes(at.Parent, name, at.Stat)
	if err != nil {
		return err
	}
	return read.write(parent, name)
}

// link gives a file that was copied already another name.
func (c *copier) link(first string, parent int, name string) error {
	directory, base := split(first)
	from, err := c.open(directory)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	return unix.Linkat(from, base, parent, name, 0)
}

func readLink(parent int, name string, size uint64) (string, error) {
	target := make([]byte, min(size, unix.PathMax)+1)
	n, err := unix.Readlinkat(parent, name, target)
	if err != nil {
		return "", err
	}
	return string(target[:n]), nil
}

package file

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

// apply makes the change, and notes how to undo it.
func (s *step) apply(c *commit) error {
	directory, err := c.directory(path.Dir(s.path), s.kind == guestv1.FileChange_KIND_WRITE)
	if err != nil {
		return err
	}
	old, err := s.checkIn(directory, s.seen)
	if err != nil {
		return err
	}
	base := path.Base(s.path)
	switch s.kind {
	case guestv1.FileChange_KIND_WRITE:
		return s.write(c, directory, base, old)
	case guestv1.FileChange_KIND_DELETE:
		return s.remove(c, directory, base)
	case guestv1.FileChange_KIND_MOVE:
		return s.move(c, directory, base)
	default:
		return s.setMode(c, directory, base, old)
	}
}

// directory opens a directory that stays open until the commit is settled or undone.
func (c *commit) directory(name string, make bool) (int, error) {
	if !make {
		fd, err := openDirectory(c.view, name)
		if err == nil {
			c.noteClose(fd)
		}
		return fd, err
	}
	fd, made, err := c.view.OpenOrMake(name)
	for _, at := range made {
		c.noteUndo(undo{back: func() error { return c.removeDirectory(at) }})
	}
	if err == nil {
		c.noteClose(fd)
	}
	return fd, err
}

// removeDirectory takes back a directory that was made. One that somebody used meanwhile stays.
func (c *commit) removeDirectory(name string) error {
	parent, err := openDirectory(c.view, path.Dir(name))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	err = unix.Unlinkat(parent, path.Base(name), unix.AT_REMOVEDIR)
	if err != nil && err != unix.ENOENT && err != unix.ENOTEMPTY {
		return fmt.Errorf("remove the directory %q again: %w", name, err)
	}
	return nil
}

func (c *commit) noteClose(fd int) {
	c.noteUndo(undo{back: func() error { return unix.Close(fd) }, forget: func() { _ = unix.Close(fd) }})
}

func (s *step) write(c *commit, directory int, base string, old *unix.Stat_t) error {
	if err := s.staged.wake(); err != nil {
		return err
	}
	defer s.staged.rest()
	if err := s.staged.adopt(directory, old, s.mode); err != nil {
		return err
	}
	if old == nil {
		err := unix.Renameat2(s.staged.directory, s.staged.name, directory, base, unix.RENAME_NOREPLACE)
		if err == unix.EEXIST {
			return changed(s.path, "exists already")
		}
		if err != nil {
			return err
		}
		s.staged.placed = true
		c.noteUndo(undo{back: func() error { return s.failed(unix.Unlinkat(directory, base, 0)) }})
		return nil
	}
	// The old file gets a second name, so that the path always has one file or the other.
	kept := freshName()
	if err := unix.Linkat(directory, base, directory, kept, 0); err != nil {
		return err
	}
	c.noteUndo(undo{
		back:   func() error { return s.failed(restore(directory, kept, base)) },
		forget: func() { _ = unix.Unlinkat(directory, kept, 0) },
	})
	return s.staged.replace(directory, base)
}

// restore gives the kept file its name again. Where both names are the same file's still, rename does nothing.
func restore(directory int, kept, base string) error {
	if err := unix.Renameat(directory, kept, directory, base); err != nil {
		return err
	}
	if err := unix.Unlinkat(directory, kept, 0); err != nil && err != unix.ENOENT {
		return err
	}
	return nil
}

func (s *step) remove(c *commit, directory int, base string) error {
	kept := freshName()
	if err := unix.Renameat2(directory, base, directory, kept, unix.RENAME_NOREPLACE); err != nil {
		return err
	}
	c.noteUndo(undo{
		back: func() error {
			return s.failed(unix.Renameat2(directory, kept, directory, base, unix.RENAME_NOREPLACE))
		},
		forget: func() { _ = unix.Unlinkat(directory, kept, 0) },
	})
	return nil
}

func (s *step) move(c *commit, directory int, base string) error {
	target, err := c.directory(path.Dir(s.to), true)
	if err != nil {
		return accessFailure(s.to, err)
	}
	targetBase := path.Base(s.to)
	err = unix.Renameat2(directory, base, target, targetBase, unix.RENAME_NOREPLACE)
	if err == unix.EEXIST {
		return changed(s.to, "exists already")
	}
	if errors.Is(err, unix.EINVAL) {
		return failure.New(failure.GuestFileRefused, "choose another path", "%q cannot be moved below itself, to %q", s.path, s.to)
	}
	if err != nil {
		return err
	}
	c.noteUndo(undo{back: func() error {
		return s.failed(unix.Renameat2(target, targetBase, directory, base, unix.RENAME_NOREPLACE))
	}})
	return nil
}

func (s *step) setMode(c *commit, directory int, base string, old *unix.Stat_t) error {
	if err := chmod(directory, base, s.mode); err != nil {
		return err
	}
	c.noteUndo(undo{back: func() error { return s.failed(chmod(directory, base, old.Mode&0o7777)) }})
	return nil
}

// chmod changes the mode of a regular file, whatever has its name by now.
func chmod(directory int, base string, mode uint32) error {
	fd, err := unix.Openat(directory, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return notRegular(base, stat.Mode)
	}
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
}

func (s *step) failed(err error) error {
	if err != nil {
		return fmt.Errorf("%q: %w", s.path, err)
	}
	return nil
}

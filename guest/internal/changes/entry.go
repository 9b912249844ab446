package changes

import (
	"bytes"
	"slices"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/walk"
)

// side is an entry in one of the trees; nil stat: it is not there.
type side struct {
	directory int
	stat      *unix.Statx_t
	target    []byte
}

func (s *side) kind() uint16 { return s.stat.Mode & unix.S_IFMT }

// entry compares what has the name in the two directories.
func (c *Comparison) entry(before, after int, entry walk.Entry) error {
	c.Examined++
	if len(c.path) > walk.MaxPathBytes {
		return walk.ErrTooDeep
	}
	old, now := &c.sides[0], &c.sides[1]
	if err := c.look(old, before, entry, &c.before); err != nil {
		return err
	}
	if err := c.look(now, after, entry, &c.after); err != nil {
		return err
	}
	switch {
	case old.stat == nil && now.stat == nil:
		return nil
	case old.stat == nil || now.stat == nil || old.kind() != now.kind():
		return c.emit(old, now, entry.Name, true)
	case c.options.Untouched(old.stat, now.stat):
		return nil
	}
	isModeEqual := old.stat.Mode == now.stat.Mode
	switch now.kind() {
	case unix.S_IFDIR:
		if isModeEqual {
			return nil
		}
		return c.emit(old, now, entry.Name, false)
	case unix.S_IFLNK:
		if err := c.readLinks(entry.Name, old, now); err != nil {
			return err
		}
		if bytes.Equal(old.target, now.target) {
			return nil
		}
	case unix.S_IFREG:
		differ, err := c.differ(entry.Name, old, now)
		if err != nil {
			return err
		}
		if !differ && isModeEqual {
			return nil
		}
		return c.emit(old, now, entry.Name, differ)
	default:
		if isModeEqual && old.stat.Rdev_major == now.stat.Rdev_major && old.stat.Rdev_minor == now.stat.Rdev_minor {
			return nil
		}
	}
	return c.emit(old, now, entry.Name, true)
}

// look fills in a side that is used again for each entry.
func (c *Comparison) look(into *side, directory int, entry walk.Entry, stat *unix.Statx_t) error {
	*into = side{directory: Absent}
	if directory == Absent {
		return nil
	}
	err := entry.Look(directory, c.local, stat)
	if err == nil {
		into.directory, into.stat = directory, stat
	} else if !walk.Vanished(err) {
		return err
	}
	return nil
}

func (c *Comparison) readLinks(name []byte, sides ...*side) error {
	for _, s := range sides {
		if s.stat == nil || s.kind() != unix.S_IFLNK || s.target != nil {
			continue
		}
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(s.directory, string(name), target)
		if err != nil && err != unix.EINVAL && !walk.Vanished(err) {
			return err
		}
		s.target = bytes.Clone(target[:max(n, 0)])
	}
	return nil
}

// emit tells a change; contentDiffers is false where only the mode does.
func (c *Comparison) emit(old, now *side, name []byte, contentDiffers bool) error {
	if err := c.readLinks(name, old, now); err != nil {
		return err
	}
	path := slices.Clone(c.path)
	change := &guestv1.Change{Path: path, Before: old.message(path), After: now.message(path), ModeOnly: !contentDiffers}
	if contentDiffers {
		var err error
		if change.BeforeSha256, err = c.hash(old, name); err != nil {
			return err
		}
		if change.AfterSha256, err = c.hash(now, name); err != nil {
			return err
		}
	}
	return c.options.Emit(change)
}

func (s *side) message(path []byte) *guestv1.FileEntry {
	if s.stat == nil {
		return nil
	}
	kind := guestv1.FileType_FILE_TYPE_OTHER
	switch s.kind() {
	case unix.S_IFREG:
		kind = guestv1.FileType_FILE_TYPE_FILE
	case unix.S_IFDIR:
		kind = guestv1.FileType_FILE_TYPE_DIRECTORY
	case unix.S_IFLNK:
		kind = guestv1.FileType_FILE_TYPE_SYMLINK
	}
	return &guestv1.FileEntry{
		Path: path, Type: kind, SizeBytes: s.stat.Size, Mode: uint32(s.stat.Mode) & 0o7777,
		MtimeNs: s.stat.Mtime.Sec*1e9 + int64(s.stat.Mtime.Nsec), LinkTarget: s.target,
	}
}

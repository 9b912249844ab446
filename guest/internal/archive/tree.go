package archive

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/rootdir"
)

const (
	// Directories kept open: archives come directory by directory.
	maxOpenDirectories = 64
	// As many links as the kernel follows on one path.
	maxLinks = 40
)

// tree is the directory that is unpacked into. Every path in it is resolved by the kernel, which is told not to leave
// it: beneath the top, or, for layers, with the top as the root that absolute links begin at.
type tree struct {
	top     int
	topPath string
	layer   bool
	open    map[string]*directory
	// Of directories by where they really are, set at the end: everything that is made in one changes its time. In a layer
	// also of those that it does not bring, but makes or hides something in: they keep what lower layers said.
	times map[string]unix.Timespec
	// No path leads through a link any more.
	settled bool
	// Of directories that no entry brings; nil: us.
	owner *Owner
}

// directory is one open directory of the tree.
type directory struct {
	fd int
	// New files take its group instead of ours.
	setgid bool
	// New files take an access list of it; looked for in layers.
	acl bool
	// Where it really is, links resolved; from the top, without a slash in front.
	canonical string
}

func newTree(top int, layer bool) (*tree, error) {
	topPath, err := descriptorPath(top)
	if err != nil {
		return nil, err
	}
	return &tree{top: top, topPath: topPath, layer: layer, open: make(map[string]*directory), times: make(map[string]unix.Timespec)}, nil
}

func descriptorPath(fd int) (string, error) {
	target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", fmt.Errorf("find the path of a directory: %w", err)
	}
	return target, nil
}

// settle ends the changes, and gives the times that are to be set.
func (t *tree) settle() map[string]unix.Timespec {
	if t.layer {
		t.forget()
		t.settled = true
	}
	return t.times
}

// forget closes the directories kept open; also when something was replaced that their paths may lead through.
func (t *tree) forget() {
	for name, d := range t.open {
		_ = unix.Close(d.fd)
		delete(t.open, name)
	}
}

// keep takes over the descriptor of an open directory.
func (t *tree) keep(name string, fd int) (*directory, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	d := &directory{fd: fd, setgid: stat.Mode&unix.S_ISGID != 0, canonical: name}
	if t.layer {
		real, err := descriptorPath(fd)
		if err != nil {
			_ = unix.Close(fd)
			if errors.Is(err, unix.ENAMETOOLONG) {
				// Links lead deeper than any name does.
				return nil, ErrNameTooLong
			}
			return nil, err
		}
		d.canonical = strings.Trim(strings.TrimPrefix(real, t.topPath), "/")
		d.acl = inheritsACL(fd)
		if _, known := t.times[d.canonical]; !known {
			t.times[d.canonical] = stat.Mtim
		}
	}
	if len(t.open) >= maxOpenDirectories {
		t.forget()
	} else if old := t.open[name]; old != nil {
		_ = unix.Close(old.fd)
	}
	t.open[name] = d
	return d, nil
}

// directory gives the directory of that clean name; missing ones on the way are made. It is valid until the next call.
func (t *tree) directory(name string) (*directory, error) { return t.find(name, maxLinks) }

func (t *tree) find(name string, links int) (*directory, error) {
	if d := t.open[name]; d != nil {
		return d, nil
	}
	fd, err := t.openDirectory(name)
	if errors.Is(err, unix.ENOENT) && name != "" {
		if err := t.make(name, links); err != nil {
			return nil, err
		}
		fd, err = t.openDirectory(name)
	}
	if err != nil {
		return nil, err
	}
	return t.keep(name, fd)
}

// lookup is directory without making anything.
func (t *tree) lookup(name string) (*directory, error) {
	if d := t.open[name]; d != nil {
		return d, nil
	}
	fd, err := t.openDirectory(name)
	if err != nil {
		return nil, err
	}
	return t.keep(name, fd)
}

func (t *tree) openDirectory(name string) (int, error) {
	if name == "" {
		name = "."
	}
	resolve := uint64(unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS)
	if t.layer {
		resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	}
	if t.settled {
		resolve |= unix.RESOLVE_NO_SYMLINKS
	}
	fd, err := rootdir.OpenAt(t.top, name, unix.O_PATH|unix.O_DIRECTORY, 0, resolve)
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ELOOP) {
		return -1, ErrOutside
	}
	return fd, err
}

// make makes one missing directory. In a layer it may be missing behind a link that is there: /var/run leads to a
// /run that no layer has brought.
func (t *tree) make(name string, links int) error {
	parentName, base := splitName(name)
	parent, err := t.find(parentName, links)
	if err != nil {
		return err
	}
	if t.layer && strings.HasPrefix(base, whiteoutPrefix) {
		return ErrWhiteout
	}
	err = unix.Mkdirat(parent.fd, base, 0o755)
	if err == nil && t.owner != nil {
		err = unix.Fchownat(parent.fd, base, t.owner.UID, t.owner.GID, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != unix.EEXIST || !t.layer {
		return err
	}
	if links == 0 {
		return unix.ELOOP
	}
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(parent.fd, base, target)
	if err != nil {
		return unix.ENOTDIR
	}
	link := string(target[:n])
	if !path.IsAbs(link) {
		link = parent.canonical + "/" + link
	}
	_, err = t.find(strings.Trim(path.Clean("/"+link), "/"), links-1)
	return err
}

// removeAll removes what has that name in the directory, all below it too, but nothing that spare wants kept. Links
// are removed, never followed. It tells whether the name is gone.
func removeAll(parent int, name, canonical string, spare func(canonical string) bool) (gone bool, err error) {
	kept := spare != nil && spare(canonical)
	if !kept {
		switch err := unix.Unlinkat(parent, name, 0); err {
		case nil, unix.ENOENT:
			return true, nil
		case unix.EISDIR, unix.EPERM:
		default:
			return false, err
		}
	}
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		if kept && (err == unix.ENOTDIR || err == unix.ELOOP || err == unix.ENOENT) {
			return false, nil
		}
		return false, err
	}
	handle := os.NewFile(uintptr(fd), canonical)
	defer handle.Close()
	if err := removeChildren(handle, canonical, spare); err != nil || kept {
		return false, err
	}
	err = unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
	if err == unix.ENOTEMPTY && spare != nil {
		return false, nil
	}
	return err == nil, err
}

func removeChildren(handle *os.File, canonical string, spare func(string) bool) error {
	names, err := handle.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := removeAll(int(handle.Fd()), name, path.Join(canonical, name), spare); err != nil {
			return err
		}
	}
	return nil
}

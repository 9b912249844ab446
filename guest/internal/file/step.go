package file

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/rootdir"
)

// step is one change of a commit.
type step struct {
	kind     guestv1.FileChange_Kind
	path, to string
	mode     uint32
	expect   []byte
	// Of a WRITE: its content, and the directory that it waits in.
	staged    *temporary
	stagedDir int
	// What had the name when the commit came; nil where that depends on earlier steps.
	seen *identity
}

// identity is what of a file changes with its content; zero where nothing has the name.
type identity struct {
	dev, inode   uint64
	size         int64
	mtime, ctime unix.Timespec
}

func identityOf(stat *unix.Stat_t) identity {
	return identity{stat.Dev, stat.Ino, stat.Size, stat.Mtim, stat.Ctim}
}

func newStep(change *guestv1.FileChange) (*step, error) {
	name, err := checkFilePath(change.Path)
	if err != nil {
		return nil, err
	}
	s := &step{kind: change.Kind, path: name, mode: change.Mode & 0o7777, expect: change.ExpectSha256, stagedDir: -1}
	if n := len(s.expect); n != 0 && n != sha256.Size {
		return nil, failure.New(failure.InvalidArgument, "send 32 bytes or none", "a SHA-256 of %d bytes", n)
	}
	switch change.Kind {
	case guestv1.FileChange_KIND_WRITE, guestv1.FileChange_KIND_DELETE, guestv1.FileChange_KIND_MODE:
	case guestv1.FileChange_KIND_MOVE:
		if s.to, err = checkFilePath(change.To); err != nil {
			return nil, err
		}
	default:
		return nil, failure.New(failure.InvalidArgument, "", "there is no kind of change %d", change.Kind)
	}
	return s, nil
}

// checkFilePath takes the absolute path of something in a directory, and gives it without superfluous parts. One with
// ".." is refused: what it means depends on links that the commit itself may change.
func checkFilePath(raw []byte) (string, error) {
	name, err := checkPath(raw)
	if err != nil {
		return "", err
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", failure.New(failure.GuestFileRefused, `use a path without ".."`, `the path %q contains ".."`, name)
		}
	}
	if _, _, err := splitFile(name, name); err != nil {
		return "", err
	}
	return path.Clean(name), nil
}

// stage makes room for content in the nearest directory above the target that is there: the target's own may come
// with the commit. Nothing can be renamed onto another file system; where one is mounted in between the step fails.
func (s *step) stage(view rootdir.View) error {
	for at := path.Dir(s.path); ; at = path.Dir(at) {
		fd, err := view.OpenAnywhere(at, unix.O_PATH|unix.O_DIRECTORY)
		if (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)) && at != "/" {
			continue
		}
		if err != nil {
			return err
		}
		s.stagedDir = fd
		if err := view.Check(fd); err != nil {
			return err
		}
		s.staged, err = newTemporary(fd)
		return err
	}
}

func (s *step) close() {
	if s.staged != nil {
		s.staged.close()
	}
	if s.stagedDir >= 0 {
		_ = unix.Close(s.stagedDir)
	}
}

// check looks whether the path is as the step needs it.
func (s *step) check(view rootdir.View) (*identity, error) {
	directory, err := openDirectory(view, path.Dir(s.path))
	if errors.Is(err, unix.ENOENT) && s.kind == guestv1.FileChange_KIND_WRITE && len(s.expect) == 0 {
		return &identity{}, nil
	}
	if err != nil {
		return nil, accessFailure(s.path, err)
	}
	defer unix.Close(directory)
	stat, err := s.checkIn(directory, nil)
	if err != nil {
		return nil, accessFailure(s.path, err)
	}
	if stat == nil {
		return &identity{}, nil
	}
	found := identityOf(stat)
	return &found, nil
}

// checkIn gives what has the name, nil for nothing. Content is not read again when it is what was seen before.
func (s *step) checkIn(directory int, seen *identity) (*unix.Stat_t, error) {
	base := path.Base(s.path)
	var stat unix.Stat_t
	err := unix.Fstatat(directory, base, &stat, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT && s.kind == guestv1.FileChange_KIND_WRITE {
		if len(s.expect) != 0 {
			return nil, changed(s.path, "does not exist")
		}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	kind := stat.Mode & unix.S_IFMT
	switch s.kind {
	case guestv1.FileChange_KIND_WRITE:
		if kind == unix.S_IFREG && len(s.expect) == 0 {
			return nil, changed(s.path, "exists already")
		}
		if kind != unix.S_IFREG {
			return nil, notRegular(s.path, stat.Mode)
		}
	case guestv1.FileChange_KIND_MODE:
		if kind != unix.S_IFREG {
			return nil, notRegular(s.path, stat.Mode)
		}
	case guestv1.FileChange_KIND_DELETE:
		if kind == unix.S_IFDIR {
			return nil, notRegular(s.path, stat.Mode)
		}
	}
	if len(s.expect) == 0 || seen != nil && *seen == identityOf(&stat) {
		return &stat, nil
	}
	if kind != unix.S_IFREG {
		return nil, notRegular(s.path, stat.Mode)
	}
	return &stat, s.checkContent(directory, base, &stat)
}

// checkContent hashes the file that stat is of, and notes in it what was hashed.
func (s *step) checkContent(directory int, base string, stat *unix.Stat_t) error {
	fd, err := rootdir.OpenAt(directory, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0, 0)
	if err != nil {
		return err
	}
	handle := os.NewFile(uintptr(fd), s.path)
	defer handle.Close()
	if err := unix.Fstat(fd, stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return notRegular(s.path, stat.Mode)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, handle); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if found := hash.Sum(nil); string(found) != string(s.expect) {
		return changed(s.path, "holds something else")
	}
	return nil
}

func changed(name, how string) error {
	return failure.New(failure.GuestFileChanged, "read the file again", "%q is not what it should be: it %s", name, how)
}

package rootdir

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenOrMake opens a directory, and makes what is missing of it, nothing outside of the view. It tells which directories it
// made, the uppermost first; after an error too.
func (v View) OpenOrMake(name string) (fd int, made []string, err error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY
	fd, err = v.Open(name, flags)
	if !errors.Is(err, unix.ENOENT) {
		return fd, nil, err
	}
	at, err := v.OpenAnywhere("/", flags)
	if err != nil {
		return -1, nil, err
	}
	walked := ""
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." {
			continue
		}
		walked += "/" + part
		next, err := v.OpenAnywhere(walked, flags)
		if errors.Is(err, unix.ENOENT) {
			if err = v.Check(at); err == nil {
				if err = unix.Mkdirat(at, part, 0o755); err == nil {
					made = append(made, walked)
					next, err = openMade(at, part)
				}
			}
		}
		_ = unix.Close(at)
		if err != nil {
			return -1, made, err
		}
		at = next
	}
	if err := v.Check(at); err != nil {
		_ = unix.Close(at)
		return -1, made, err
	}
	return at, made, nil
}

func openMade(parent int, name string) (int, error) {
	fd, err := OpenAt(parent, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0, 0)
	if err != nil {
		return -1, err
	}
	if err := Inherit(parent, fd); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Owner is whom things made in a directory belong to: its owner where that is not root, else nobody is told of.
func Owner(directory int) (uid, gid int, other bool, err error) {
	var stat unix.Stat_t
	if err := unix.Fstat(directory, &stat); err != nil {
		return 0, 0, false, err
	}
	return int(stat.Uid), int(stat.Gid), stat.Uid != 0 && unix.Geteuid() == 0, nil
}

// Inherit gives what was made in a directory to that directory's owner, who could not change it else.
func Inherit(directory, fd int) error {
	uid, gid, other, err := Owner(directory)
	if err != nil || !other {
		return err
	}
	return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH)
}

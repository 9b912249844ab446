package file

import (
	"path"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/failure"
	"pyro/guest/internal/rootdir"
)

const (
	defaultMode = 0o644
	maxLinks    = 40
)

// place is where a file is or is to be: an open directory and a name in it that is no link.
type place struct {
	directory int
	base      string
	// Of the file that is there; nil where there is none.
	old *unix.Stat_t
}

// opener opens the directory of a place: openOrMake, or openDirectory, which makes nothing.
type opener func(view rootdir.View, name string) (int, error)

func openDirectory(view rootdir.View, name string) (int, error) {
	return view.Open(name, unix.O_PATH|unix.O_DIRECTORY)
}

// placeOf follows links at the end of the path by hand: the last directory must be known to make a file beside.
func placeOf(view rootdir.View, name string, open opener) (*place, error) {
	at := name
	for range maxLinks {
		directoryName, base, err := splitFile(name, at)
		if err != nil {
			return nil, err
		}
		directory, err := open(view, directoryName)
		if err != nil {
			return nil, accessFailure(name, err)
		}
		var stat unix.Stat_t
		err = unix.Fstatat(directory, base, &stat, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case err == unix.ENOENT:
			return &place{directory, base, nil}, nil
		case err == nil && stat.Mode&unix.S_IFMT == unix.S_IFREG:
			return &place{directory, base, &stat}, nil
		case err == nil && stat.Mode&unix.S_IFMT == unix.S_IFLNK:
			link, linkErr := readLink(directory, base)
			_ = unix.Close(directory)
			if linkErr != nil {
				return nil, accessFailure(name, linkErr)
			}
			if at = link; !path.IsAbs(at) {
				at = directoryName + at
			}
		default:
			_ = unix.Close(directory)
			if err != nil {
				return nil, accessFailure(name, err)
			}
			return nil, notRegular(name, stat.Mode)
		}
	}
	return nil, accessFailure(name, unix.ELOOP)
}

// splitFile gives the directory, with its slash, and the name of a file; asked is what the caller named.
func splitFile(asked, at string) (directory, base string, err error) {
	directory, base = path.Split(at)
	if base == "" || base == "." || base == ".." {
		return "", "", failure.New(failure.GuestFileRefused, "name a regular file", "%q is a directory", asked)
	}
	return directory, base, nil
}

func readLink(directory int, base string) (string, error) {
	link := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(directory, base, link)
	if err == unix.EINVAL {
		// A link no more: it was replaced meanwhile.
		err = unix.ENOENT
	}
	if err != nil {
		return "", err
	}
	return string(link[:n]), nil
}

// openOrMake opens a directory, and makes what is missing of it, nothing outside of the view.
func openOrMake(view rootdir.View, name string) (int, error) {
	fd, _, err := view.OpenOrMake(name)
	return fd, err
}

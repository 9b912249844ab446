package accounts

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/rootdir"
)

var (
	errNotRegular = errors.New("it is not a regular file")
	errTooLarge   = fmt.Errorf("it is larger than %d bytes", maxFileBytes)
)

// read gives a file of the environment, which may have anything in its place: what is not there is empty, and so is what
// cannot be used, with the reason.
func read(root rootdir.Root, path string) (string, error) {
	// O_NONBLOCK: it may be a pipe.
	fd, err := root.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return "", unix.ENOENT
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return "", err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return "", errNotRegular
	}
	if stat.Size > maxFileBytes {
		return "", errTooLarge
	}
	// One byte more than it has, so that a file that grew is read to its end or found too large.
	content := make([]byte, 0, stat.Size+1)
	for {
		if len(content) > maxFileBytes {
			return "", errTooLarge
		}
		if len(content) == cap(content) {
			content = append(content, 0)[:len(content)]
		}
		n, err := unix.Read(fd, content[len(content):cap(content)])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return "", err
		case n == 0:
			return string(content), nil
		}
		content = content[:len(content)+n]
	}
}

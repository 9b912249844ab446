package file

import (
	"crypto/rand"
	"fmt"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/rootdir"
)

// freshName is a name that nobody else has; it is told apart from a user's by its beginning.
func freshName() string { return ".pyro-" + rand.Text() }

// temporary is a file that is not in its place yet.
type temporary struct {
	// Borrowed.
	directory int
	fd        int
	name      string
	placed    bool
}

func newTemporary(directory int) (*temporary, error) {
	name := freshName()
	fd, err := unix.Openat(directory, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return &temporary{directory: directory, fd: fd, name: name}, nil
}

func (t *temporary) write(data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(t.fd, data)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		data = data[n:]
	}
	return nil
}

// rest closes the file for as long as nothing is done with it; wake opens it again.
func (t *temporary) rest() {
	if t.fd >= 0 {
		_ = unix.Close(t.fd)
		t.fd = -1
	}
}

func (t *temporary) wake() (err error) {
	t.fd, err = unix.Openat(t.directory, t.name, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	return err
}

// adopt gives it the owner and, where mode is 0, the mode of the file that it is to replace; a new one (nil) belongs to the owner of
// the directory that it is to be in.
func (t *temporary) adopt(directory int, old *unix.Stat_t, mode uint32) error {
	mode &= 0o7777
	if mode == 0 {
		mode = defaultMode
		if old != nil {
			mode = old.Mode & 0o7777
		}
	}
	if old == nil {
		if err := rootdir.Inherit(directory, t.fd); err != nil {
			return err
		}
	} else if unix.Geteuid() == 0 {
		if err := unix.Fchown(t.fd, int(old.Uid), int(old.Gid)); err != nil {
			return err
		}
	}
	return unix.Fchmod(t.fd, mode)
}

// replace puts it in place of whatever file has that name.
func (t *temporary) replace(directory int, base string) error {
	if err := unix.Renameat(t.directory, t.name, directory, base); err != nil {
		return err
	}
	t.placed = true
	return nil
}

// close also removes a file that did not get to its place.
func (t *temporary) close() {
	t.rest()
	if !t.placed {
		_ = unix.Unlinkat(t.directory, t.name, 0)
	}
}

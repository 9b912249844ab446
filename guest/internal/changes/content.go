package changes

import (
	"bytes"
	"crypto/sha256"
	"errors"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/walk"
)

const bufferBytes = 256 << 10

// errGone says that a file is not what it was a moment ago.
var errGone = errors.New("it is no regular file any more")

// differ compares the content of two regular files.
func (c *Comparison) differ(name []byte, old, now *side) (bool, error) {
	if old.stat.Size != now.stat.Size {
		return true, nil
	}
	var fds [2]int
	for i, s := range []*side{old, now} {
		fd, err := openRegular(s.directory, name)
		if err == errGone {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		defer unix.Close(fd)
		fds[i] = fd
	}
	c.makeBuffers()
	for left := old.stat.Size; left > 0; {
		if err := c.ctx.Err(); err != nil {
			return false, err
		}
		n := int(min(left, bufferBytes))
		read, err := readFull(fds[0], c.buffers[0][:n])
		if err != nil {
			return false, err
		}
		also, err := readFull(fds[1], c.buffers[1][:n])
		if err != nil {
			return false, err
		}
		if read != also || !bytes.Equal(c.buffers[0][:read], c.buffers[1][:also]) {
			return true, nil
		}
		if read < n {
			return false, nil
		}
		left -= uint64(n)
	}
	return false, nil
}

// hash hashes a regular file; nil for one that is large, not there, or something else.
func (c *Comparison) hash(s *side, name []byte) ([]byte, error) {
	if s.stat == nil || s.kind() != unix.S_IFREG || s.stat.Size > HashedBytes {
		return nil, nil
	}
	fd, err := openRegular(s.directory, name)
	if err == errGone {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	c.makeBuffers()
	hash := sha256.New()
	// One that grows meanwhile is hashed no further than it was.
	for left := s.stat.Size; left > 0; {
		if err := c.ctx.Err(); err != nil {
			return nil, err
		}
		n, err := readFull(fd, c.buffers[0][:min(left, bufferBytes)])
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		_, _ = hash.Write(c.buffers[0][:n])
		left -= uint64(n)
	}
	return hash.Sum(nil), nil
}

func (c *Comparison) makeBuffers() {
	if c.buffers[0] == nil {
		c.buffers = [2][]byte{make([]byte, bufferBytes), make([]byte, bufferBytes)}
	}
}

func openRegular(directory int, name []byte) (int, error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Openat(directory, string(name), flags, 0)
	if walk.Vanished(err) || err == unix.ENXIO {
		return -1, errGone
	}
	if err != nil {
		return -1, err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = unix.Close(fd)
		return -1, errGone
	}
	return fd, nil
}

// readFull reads until the buffer is full or the file ends.
func readFull(fd int, buffer []byte) (int, error) {
	for done := 0; ; {
		n, err := unix.Read(fd, buffer[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		if done += max(n, 0); n <= 0 || done == len(buffer) {
			return done, nil
		}
	}
}

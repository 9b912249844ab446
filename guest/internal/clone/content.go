package clone

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/walk"
)

func (c *copier) file(at walk.Visited, path string, parent int, name string) error {
	from, err := unix.Openat(at.Parent, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	told := c.options.Tell != nil && (c.options.Known == nil || !c.options.Known(path, at.Stat))
	if rewrite := c.options.Rewrite(path); rewrite != nil && at.Stat.Size <= RewrittenBytes {
		old := make([]byte, at.Stat.Size)
		if err := readAll(from, old, 0); err != nil {
			return err
		}
		content := rewrite(old)
		if content == nil {
			return errLeftOut
		}
		return c.make(parent, name, func(to int) error { return c.give(to, content, 0, told) })
	}
	return c.make(parent, name, func(to int) error { return c.copy(from, to, int64(at.Stat.Size), told) })
}

func (c *copier) make(parent int, name string, fill func(to int) error) error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	to, err := unix.Openat(parent, name, flags, 0o600)
	if err != nil {
		return err
	}
	if err := fill(to); err != nil {
		_ = unix.Close(to)
		return err
	}
	// A disk that is full may say so only here.
	return unix.Close(to)
}

// copy leaves holes where the source has them.
func (c *copier) copy(from, to int, size int64, told bool) error {
	for at := int64(0); at < size; {
		begin, err := unix.Seek(from, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return fmt.Errorf("find its data: %w", err)
		}
		end, err := unix.Seek(from, begin, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("find its holes: %w", err)
		}
		for at = begin; at < end; {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			piece := c.buffer[:min(end-at, int64(len(c.buffer)))]
			if err := readAll(from, piece, at); err != nil {
				return err
			}
			if err := c.give(to, piece, at, told); err != nil {
				return err
			}
			at += int64(len(piece))
		}
	}
	return unix.Ftruncate(to, size)
}

// give writes a piece, and tells it where that is to be told.
func (c *copier) give(to int, data []byte, at int64, told bool) error {
	for written := 0; written < len(data); {
		n, err := unix.Pwrite(to, data[written:], at+int64(written))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("write it: %w", err)
		}
		written += n
	}
	c.options.Progress(len(data))
	if !told || len(data) == 0 {
		return nil
	}
	return c.options.Tell("", "", data)
}

func readAll(from int, data []byte, at int64) error {
	for done := 0; done < len(data); {
		n, err := unix.Pread(from, data[done:], at+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = errors.New("it ends early")
		}
		if err != nil {
			return fmt.Errorf("read it: %w", err)
		}
		done += n
	}
	return nil
}

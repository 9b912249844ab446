package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"

	"golang.org/x/sys/unix"
)

const (
	pageBytes  = 4096
	blockBytes = 256 * pageBytes
)

var zeroPage [pageBytes]byte

var errNoMemory = errors.New("the host has no memory for it")

type holding struct {
	// Whether the copy may be written; its size is fixed all the same.
	writable bool
	digest   bool
}

// hold copies a file into a memfd. The digest is over its size and over each page that is not zero, with its
// place: what is a hole and what is written zeros makes no difference, and a sparse file costs what is in it.
func hold(name, path string, how holding) (held, error) {
	source, size, err := open(path)
	if err != nil {
		return held{}, err
	}
	defer source.Close()
	fd, err := unix.MemfdCreate(name, unix.MFD_ALLOW_SEALING|unix.MFD_CLOEXEC)
	if err != nil {
		return held{}, fmt.Errorf("make a memfd: %w: %w", errNoMemory, err)
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		return held{}, fmt.Errorf("size a memfd: %w: %w", errNoMemory, err)
	}
	c := newCopying(fd, size, how.digest)
	if err := c.run(source); err != nil {
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM) {
			err = fmt.Errorf("%w: %w", errNoMemory, err)
		}
		return held{}, fmt.Errorf("copy %s: %w", path, err)
	}
	seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	if !how.writable {
		seals |= unix.F_SEAL_WRITE
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return held{}, fmt.Errorf("seal the copy of %s: %w", path, err)
	}
	// Never closed: this process is what holds it.
	return held{Descriptor: &fd, SHA256: c.digest(), SizeBytes: size, UsedBytes: c.used}, nil
}

// store copies a file into a new one, which only we may read, and returns when it is on the disk.
func store(target, path string) (held, error) {
	source, size, err := open(path)
	if err != nil {
		return held{}, err
	}
	defer source.Close()
	file, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return held{}, err
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		return held{}, err
	}
	c := newCopying(int(file.Fd()), size, true)
	if err := c.run(source); err != nil {
		return held{}, fmt.Errorf("write %s: %w", target, err)
	}
	if err := file.Sync(); err != nil {
		return held{}, fmt.Errorf("write %s: %w", target, err)
	}
	return held{SHA256: c.digest(), SizeBytes: size, UsedBytes: c.used}, nil
}

// examine copies nothing: it tells what the file is.
func examine(path string) (held, error) {
	source, size, err := open(path)
	if err != nil {
		return held{}, err
	}
	defer source.Close()
	c := newCopying(nowhere, size, true)
	if err := c.run(source); err != nil {
		return held{}, fmt.Errorf("read %s: %w", path, err)
	}
	return held{SHA256: c.digest(), SizeBytes: size, UsedBytes: c.used}, nil
}

func open(path string) (*os.File, int64, error) {
	source, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := source.Stat()
	if err != nil {
		_ = source.Close()
		return nil, 0, err
	}
	return source, info.Size(), nil
}

// nowhere is the target of what is only read.
const nowhere = -1

// copying copies what is not zero.
type copying struct {
	target int
	size   int64
	sum    hash.Hash
	used   int64
}

func newCopying(target int, size int64, digest bool) *copying {
	c := &copying{target: target, size: size}
	if digest {
		c.sum = sha256.New()
		c.note(size)
	}
	return c
}

func (c *copying) digest() string {
	if c.sum == nil {
		return ""
	}
	return hex.EncodeToString(c.sum.Sum(nil))
}

func (c *copying) note(n int64) {
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], uint64(n))
	_, _ = c.sum.Write(number[:])
}

func (c *copying) run(source *os.File) error {
	buffer := make([]byte, blockBytes)
	for offset := int64(0); offset < c.size; {
		data, err := unix.Seek(int(source.Fd()), offset, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		end := c.size
		if err != nil {
			// A file system that knows no holes.
			data = offset
		} else if hole, err := unix.Seek(int(source.Fd()), data, unix.SEEK_HOLE); err == nil {
			end = min(end, (hole+pageBytes-1)/pageBytes*pageBytes)
		}
		offset = data - data%pageBytes
		for offset < end {
			n, err := source.ReadAt(buffer[:min(blockBytes, end-offset)], offset)
			if n == 0 && err != nil {
				return err
			}
			if err := c.block(buffer[:n], offset); err != nil {
				return err
			}
			offset += int64(n)
		}
	}
	return nil
}

// block writes the runs of pages that are not zero.
func (c *copying) block(block []byte, offset int64) error {
	begin := -1
	flush := func(end int) error {
		if begin < 0 {
			return nil
		}
		run, at := block[begin:end], offset+int64(begin)
		begin = -1
		c.used += int64(len(run))
		if c.target == nowhere {
			return nil
		}
		return writeAll(c.target, run, at)
	}
	for at := 0; at < len(block); at += pageBytes {
		page := block[at:min(at+pageBytes, len(block))]
		if string(page) == string(zeroPage[:len(page)]) {
			if err := flush(at); err != nil {
				return err
			}
			continue
		}
		if begin < 0 {
			begin = at
		}
		if c.sum != nil {
			c.note(offset + int64(at))
			_, _ = c.sum.Write(page)
		}
	}
	return flush(len(block))
}

func writeAll(fd int, data []byte, offset int64) error {
	for len(data) > 0 {
		n, err := unix.Pwrite(fd, data, offset)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		data, offset = data[n:], offset+int64(n)
	}
	return nil
}

package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	pageBytes  = 4096
	blockBytes = 256 * pageBytes
)

var zeroPage [pageBytes]byte

var errNoMemory = errors.New("the host has no memory for it")

// hold copies a file into a sealed memfd. The digest is over its size and over each page that is not zero, with its
// place: what is a hole and what is written zeros makes no difference, and a sparse file costs what is in it.
func hold(name, path string) (held, error) {
	source, err := os.Open(path)
	if err != nil {
		return held{}, err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return held{}, err
	}
	fd, err := unix.MemfdCreate(name, unix.MFD_ALLOW_SEALING|unix.MFD_CLOEXEC)
	if err != nil {
		return held{}, fmt.Errorf("make a memfd: %w: %w", errNoMemory, err)
	}
	if err := unix.Ftruncate(fd, info.Size()); err != nil {
		return held{}, fmt.Errorf("size a memfd: %w: %w", errNoMemory, err)
	}
	digest, used, err := copyPages(fd, source, info.Size())
	if err != nil {
		return held{}, fmt.Errorf("copy %s: %w", path, err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return held{}, fmt.Errorf("seal the copy of %s: %w", path, err)
	}
	// Never closed: this process is what holds it.
	return held{Descriptor: fd, SHA256: digest, SizeBytes: info.Size(), UsedBytes: used}, nil
}

// copyPages copies what is not zero.
func copyPages(target int, source *os.File, size int64) (digest string, used int64, err error) {
	sum := sha256.New()
	var number [8]byte
	note := func(n int64) {
		binary.BigEndian.PutUint64(number[:], uint64(n))
		_, _ = sum.Write(number[:])
	}
	note(size)
	buffer := make([]byte, blockBytes)
	for offset := int64(0); offset < size; {
		data, err := unix.Seek(int(source.Fd()), offset, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			// A file system that knows no holes.
			data = offset
		}
		offset = data - data%pageBytes
		n, err := source.ReadAt(buffer[:min(blockBytes, size-offset)], offset)
		if n == 0 && err != nil {
			return "", 0, err
		}
		for at := 0; at < n; at += pageBytes {
			page := buffer[at:min(at+pageBytes, n)]
			if string(page) == string(zeroPage[:len(page)]) {
				continue
			}
			note(offset + int64(at))
			_, _ = sum.Write(page)
			if _, err := unix.Pwrite(target, page, offset+int64(at)); err != nil {
				return "", 0, fmt.Errorf("%w: %w", errNoMemory, err)
			}
			used += int64(len(page))
		}
		offset += int64(n)
	}
	return hex.EncodeToString(sum.Sum(nil)), used, nil
}

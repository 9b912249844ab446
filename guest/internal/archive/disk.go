package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// Contents from so many bytes on go past the kernel's cache: two requests of the disks take as long as copying so much
	// twice does under emulation.
	directBytes = 256 << 10
	// Copied at once: the disk takes 1 MiB for each request, and works on several.
	runBytes = 4 << 20
	// What a direct transfer begins and ends at, of any disk and file system.
	pageBytes = 4096
	// A large page: of two, what is copied at once is a few segments of a request instead of a thousand.
	hugeBytes = 2 << 20
)

// Disk is an archive as it lies on a disk. Large contents of it go from disk to disk: their bytes are never touched by the
// processor, which under emulation needs six times as long for them as the disks do.
type Disk struct {
	*io.SectionReader
	file *os.File
	// Where the archive begins.
	offset int64
	// For transfers past the kernel's cache; nil where there are none.
	direct *os.File
	// What is copied at once, within what was mapped for it.
	run, mapped []byte
	onRead      func(bytes int)
}

// OpenDisk opens the archive that lies in these bytes of a disk. onRead is told of each part that was read, with a minus of what is read again.
func OpenDisk(path string, offset, size int64, onRead func(bytes int)) (*Disk, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	d := &Disk{SectionReader: io.NewSectionReader(file, offset, size), file: file, offset: offset, onRead: onRead}
	if offset%blockBytes != 0 {
		return d, nil
	}
	// Not every file system can do it, where an archive is a file on one.
	direct, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return d, nil
	}
	d.direct = direct
	return d, nil
}

// Close ends it; what is open twice is closed twice.
func (d *Disk) Close() error {
	if d.mapped != nil {
		_ = unix.Munmap(d.mapped)
		d.mapped, d.run = nil, nil
	}
	if d.direct != nil {
		_ = d.direct.Close()
	}
	return d.file.Close()
}

// Read reads through the kernel's cache.
func (d *Disk) Read(p []byte) (int, error) {
	n, err := d.SectionReader.Read(p)
	d.onRead(n)
	return n, err
}

// giveBack has the last bytes that were read be read again.
func (d *Disk) giveBack(bytes int) error {
	_, err := d.Seek(-int64(bytes), io.SeekCurrent)
	d.onRead(-bytes)
	return err
}

// moveTo writes as much of the next bytes as direct transfers can take into an empty file, and goes on behind them; 0 where
// there are none.
func (d *Disk) moveTo(ctx context.Context, fd int, bytes int64) (moved int64, err error) {
	at, err := d.Seek(0, io.SeekCurrent)
	if err != nil || d.direct == nil || !setDirect(fd, true) {
		return 0, err
	}
	// An entry may say that it is longer than its archive.
	bytes = min(bytes, d.Size()-at)
	defer func() {
		setDirect(fd, false)
		_, seekErr := d.Seek(at+moved, io.SeekStart)
		err = errors.Join(err, seekErr)
	}()
	if d.run == nil {
		if d.mapped, err = unix.Mmap(-1, 0, runBytes+hugeBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON); err != nil {
			return 0, fmt.Errorf("make a buffer: %w", err)
		}
		d.run = d.mapped[-uintptr(unsafe.Pointer(unsafe.SliceData(d.mapped)))%hugeBytes:][:runBytes]
		// A kernel without large pages takes the usual ones.
		_ = unix.Madvise(d.run, unix.MADV_HUGEPAGE)
	}
	for bytes-moved >= pageBytes {
		part := d.run[:min(runBytes, (bytes-moved)&^(pageBytes-1))]
		if _, err := io.ReadFull(io.NewSectionReader(d.direct, d.offset+at+moved, int64(len(part))), part); err != nil {
			return moved, unexpected(err)
		}
		d.onRead(len(part))
		// Not raw: it waits for the disk, which Go's scheduler is told.
		if err := writeAll(unix.Write, fd, part); err != nil {
			return moved, err
		}
		moved += int64(len(part))
		if err := ctx.Err(); err != nil {
			return moved, err
		}
	}
	return moved, nil
}

// setDirect says whether what is written to a file goes past the kernel's cache; false where its file system cannot.
func setDirect(fd int, direct bool) bool {
	flags := 0
	if direct {
		flags = unix.O_DIRECT
	}
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
	return err == nil
}

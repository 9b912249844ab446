package network

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring reads a BPF ring buffer: a page that says how far we read, a page that says how far the kernel wrote, and the
// bytes, mapped twice in a row so that no record is split.
type ring struct {
	file     *os.File
	raw      syscall.RawConn
	read     []byte
	written  []byte
	dataAt   int
	finished bool
}

const (
	recordHeaderBytes = 8
	recordBusy        = 1 << 31
	recordDiscarded   = 1 << 30
)

// openRing takes the map's descriptor.
func openRing(fd int) (*ring, error) {
	page := os.Getpagesize()
	read, err := unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("map the ring of SYNs: %w", err)
	}
	written, err := unix.Mmap(fd, int64(page), page+2*synRingBytes, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		_ = unix.Munmap(read)
		_ = unix.Close(fd)
		return nil, fmt.Errorf("map the ring of SYNs: %w", err)
	}
	// Only then does the runtime poll it.
	_ = unix.SetNonblock(fd, true)
	r := &ring{file: os.NewFile(uintptr(fd), "ring of SYNs"), read: read, written: written, dataAt: page}
	if r.raw, err = r.file.SyscallConn(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// each calls take with each record, until the ring is closed. The bytes are the ring's.
func (r *ring) each(take func(record []byte)) error {
	return r.raw.Read(func(uintptr) bool {
		r.drain(take)
		return false
	})
}

func (r *ring) drain(take func(record []byte)) {
	position := (*uint64)(unsafe.Pointer(&r.read[0]))
	end := (*uint64)(unsafe.Pointer(&r.written[0]))
	for at := atomic.LoadUint64(position); at < atomic.LoadUint64(end); {
		place := r.dataAt + int(at%synRingBytes)
		header := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.written[place])))
		if header&recordBusy != 0 {
			// Its end wakes us again.
			return
		}
		length := int(header &^ recordDiscarded)
		if header&recordDiscarded == 0 && length >= synBytes {
			take(r.written[place+recordHeaderBytes : place+recordHeaderBytes+length])
		}
		at += uint64(length+recordHeaderBytes+7) &^ 7
		atomic.StoreUint64(position, at)
	}
}

// close ends each; its memory stays mapped until then, and is given back by unmap.
func (r *ring) close() { _ = r.file.Close() }

// unmap must come after the end of each.
func (r *ring) unmap() {
	_ = unix.Munmap(r.read)
	_ = unix.Munmap(r.written)
}

// Package inodes reads inodes of a sealed ext4 disk from its tables, without a look-up by name: 10,000 of them are
// 2.5 MB in a row, which the kernel would look up, take apart and keep one by one.
//
// Invariants:
//   - the disk is never written to, and nobody else writes to it;
//   - what is not understood is said not to be the same, never guessed: the caller looks by name then.
//
// The layout is Linux's Documentation/filesystems/ext4 (super.rst, group_descr.rst, inodes.rst).
package inodes

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	superblockAt    = 1024
	superblockBytes = 1024
	magic           = 0xEF53
	// Incompatible features that this knows how to read: filetype, extents, 64bit, flex_bg, csum_seed, and recover, which
	// a disk has that was sealed while it was mounted.
	featureFileType, featureRecover, featureExtents = 0x2, 0x4, 0x40
	feature64Bit, featureFlexGroups, featureSeed    = 0x80, 0x200, 0x2000
	featuresKnown                                   = featureFileType | featureRecover | featureExtents | feature64Bit | featureFlexGroups | featureSeed
	// An inode with times of nanoseconds: the old 128 bytes and at least up to i_mtime_extra.
	inodeBytesLeast  = 256
	extraBytesNeeded = 0x8C - 128 + 4
	// Read at once, and how much of that is kept.
	windowBytes = 64 << 10
	windowsMost = 64
)

var errLayout = errors.New("it is no ext4 file system of the kind that environments have")

// Table reads the inodes of one disk.
type Table struct {
	fd                       int
	blockBytes, inodeBytes   uint64
	inodesPerGroup, inodes   uint64
	descriptorAt, groupBytes uint64
	windows                  map[uint64][]byte
}

// Open reads what the disk says of itself. The descriptor stays the caller's, and open.
func Open(fd int) (*Table, error) {
	super := make([]byte, superblockBytes)
	if n, err := unix.Pread(fd, super, superblockAt); err != nil || n != len(super) {
		return nil, fmt.Errorf("read the superblock: %w", orLayout(err))
	}
	le := binary.LittleEndian
	features := le.Uint32(super[0x60:])
	t := &Table{
		fd: fd, blockBytes: 1024 << min(le.Uint32(super[0x18:]), 16), inodeBytes: uint64(le.Uint16(super[0x58:])),
		inodesPerGroup: uint64(le.Uint32(super[0x28:])), inodes: uint64(le.Uint32(super)),
		groupBytes: 32, windows: make(map[uint64][]byte),
	}
	if features&feature64Bit != 0 {
		t.groupBytes = uint64(le.Uint16(super[0xFE:]))
	}
	// The descriptors begin in the block behind the superblock's.
	t.descriptorAt = (uint64(le.Uint32(super[0x14:])) + 1) * t.blockBytes
	sound := le.Uint16(super[0x38:]) == magic && features&^uint32(featuresKnown) == 0 && t.inodesPerGroup > 0 &&
		t.blockBytes <= windowBytes && t.inodeBytes >= inodeBytesLeast && windowBytes%t.inodeBytes == 0 &&
		(t.groupBytes == 32 || t.groupBytes == 64)
	if !sound {
		return nil, errLayout
	}
	return t, nil
}

func orLayout(err error) error {
	if err == nil {
		return errLayout
	}
	return err
}

// Stat fills in number, mode, size, and times of change and modification of an inode; false where it cannot tell.
func (t *Table) Stat(number uint64, into *unix.Statx_t) bool {
	if number == 0 || number > t.inodes {
		return false
	}
	group, index := (number-1)/t.inodesPerGroup, (number-1)%t.inodesPerGroup
	descriptor := t.at(t.descriptorAt+group*t.groupBytes, t.groupBytes)
	if descriptor == nil {
		return false
	}
	le := binary.LittleEndian
	table := uint64(le.Uint32(descriptor[8:]))
	if t.groupBytes == 64 {
		table |= uint64(le.Uint32(descriptor[0x28:])) << 32
	}
	inode := t.at(table*t.blockBytes+index*t.inodeBytes, t.inodeBytes)
	if inode == nil || le.Uint16(inode[0x80:]) < extraBytesNeeded {
		return false
	}
	*into = unix.Statx_t{
		Ino: number, Mode: le.Uint16(inode),
		Size:  uint64(le.Uint32(inode[4:])) | uint64(le.Uint32(inode[0x6C:]))<<32,
		Ctime: timeOf(inode[0x0C:], inode[0x84:]), Mtime: timeOf(inode[0x10:], inode[0x88:]),
	}
	return true
}

// timeOf: 32 bits of seconds with a sign; of the others two more of seconds, then the nanoseconds.
func timeOf(seconds, extra []byte) unix.StatxTimestamp {
	bits := binary.LittleEndian.Uint32(extra)
	return unix.StatxTimestamp{
		Sec:  int64(int32(binary.LittleEndian.Uint32(seconds))) + int64(bits&3)<<32,
		Nsec: bits >> 2,
	}
}

// at gives bytes of the disk; nil where they cannot be read, or lie in two windows.
func (t *Table) at(offset, length uint64) []byte {
	from := offset % windowBytes
	if from+length > windowBytes {
		return nil
	}
	window := t.windows[offset-from]
	if window == nil {
		window = t.read(offset - from)
	}
	if uint64(len(window)) < from+length {
		return nil
	}
	return window[from : from+length]
}

func (t *Table) read(offset uint64) []byte {
	if len(t.windows) >= windowsMost {
		clear(t.windows)
	}
	window := make([]byte, windowBytes)
	for {
		n, err := unix.Pread(t.fd, window, int64(offset))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil
		}
		window = window[:n]
		t.windows[offset] = window
		return window
	}
}

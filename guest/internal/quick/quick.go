// Package quick makes system calls about files without telling Go's scheduler. With one processor and under emulation
// most of them take longer than the 20 µs after which the scheduler takes the processor from a call and wakes another
// thread: the timer for that alone had 12 to 19 of 100 samples while 10,000 files were gone through.
//
// Invariant: until such a call is over nothing else of the agent runs. So they are made only where a disk's cache, or at
// worst one read of the disk, answers (see Local), and never where a file system of a program of the guest may be asked.
package quick

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Local tells whether files right in an open directory may be asked about by the calls here. A directory in it may be a
// mount point of something else, so that directories never are.
func Local(directory int) bool {
	var stat unix.Statfs_t
	if unix.Fstatfs(directory, &stat) != nil {
		return false
	}
	return stat.Type == unix.EXT4_SUPER_MAGIC || stat.Type == unix.TMPFS_MAGIC
}

func orNil(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// Stat looks at an entry of a directory, at a link itself. A NUL must lie behind the name, which is not copied.
func Stat(directory int, name []byte, stat *unix.Statx_t) error {
	const flags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_STATX_SYNC_AS_STAT
	_, _, errno := unix.RawSyscall6(unix.SYS_STATX, uintptr(directory), uintptr(unsafe.Pointer(unsafe.SliceData(name))),
		flags, unix.STATX_BASIC_STATS, uintptr(unsafe.Pointer(stat)), 0)
	runtime.KeepAlive(name)
	return orNil(errno)
}

// Open opens an entry of a directory to read it, no link, waiting for nothing. A NUL must lie behind the name.
func Open(directory int, name []byte) (int, error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(directory), uintptr(unsafe.Pointer(unsafe.SliceData(name))),
		flags, 0, 0, 0)
	runtime.KeepAlive(name)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// Fstat looks at what is open.
func Fstat(fd int, stat *unix.Stat_t) error {
	_, _, errno := unix.RawSyscall(unix.SYS_FSTAT, uintptr(fd), uintptr(unsafe.Pointer(stat)), 0)
	return orNil(errno)
}

// Read reads on; the room is not empty.
func Read(fd int, room []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(room))), uintptr(len(room)))
	runtime.KeepAlive(room)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// Close closes what was only read from.
func Close(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

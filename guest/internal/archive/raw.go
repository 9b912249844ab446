package archive

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls that are made for every entry, without telling Go's scheduler: under emulation each takes longer
// than the 20 µs after which the scheduler hands the processor to another thread, and thread switches then cost a
// third of an unpacking. None of them waits for anything but the disk's cache.

func rawErr(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// rawAt is a call of the form f(directory, name, a, b).
func rawAt(trap uintptr, directory int, name string, a, b uintptr) (int, error) {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return -1, err
	}
	result, _, errno := unix.RawSyscall6(trap, uintptr(directory), uintptr(unsafe.Pointer(p)), a, b, 0, 0)
	runtime.KeepAlive(p)
	return int(result), rawErr(errno)
}

// createFile makes and opens a file that is not there.
func createFile(directory int, name string, mode uint32) (int, error) {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := rawAt(unix.SYS_OPENAT, directory, name, flags, uintptr(mode))
	if err != nil {
		return -1, err
	}
	return fd, nil
}

func makeDirectory(directory int, name string, mode uint32) error {
	_, err := rawAt(unix.SYS_MKDIRAT, directory, name, uintptr(mode), 0)
	return err
}

func makeSymlink(target string, directory int, name string) error {
	to, err := unix.BytePtrFromString(target)
	if err != nil {
		return err
	}
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SYMLINKAT, uintptr(unsafe.Pointer(to)), uintptr(directory), uintptr(unsafe.Pointer(p)))
	runtime.KeepAlive(to)
	runtime.KeepAlive(p)
	return rawErr(errno)
}

func setTime(directory int, name string, at unix.Timespec) error {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	times := [2]unix.Timespec{at, at}
	_, _, errno := unix.RawSyscall6(unix.SYS_UTIMENSAT, uintptr(directory), uintptr(unsafe.Pointer(p)),
		uintptr(unsafe.Pointer(&times)), unix.AT_SYMLINK_NOFOLLOW, 0, 0)
	runtime.KeepAlive(p)
	return rawErr(errno)
}

// setTimeOf is setTime of what is open: without a look by name.
func setTimeOf(fd int, at unix.Timespec) error {
	times := [2]unix.Timespec{at, at}
	_, _, errno := unix.RawSyscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
	return rawErr(errno)
}

func writeSome(fd int, data []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)))
	runtime.KeepAlive(data)
	return int(n), rawErr(errno)
}

func changeOwner(fd, uid, gid int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_FCHOWN, uintptr(fd), uintptr(uid), uintptr(gid))
	return rawErr(errno)
}

func changeMode(fd int, mode uint32) error {
	_, _, errno := unix.RawSyscall(unix.SYS_FCHMOD, uintptr(fd), uintptr(mode), 0)
	return rawErr(errno)
}

func closeFile(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

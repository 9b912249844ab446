package boot

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	bootIDPath   = "/proc/sys/kernel/random/boot_id"
	bootIDSource = "/run/pyro/boot_id"
)

// AddEntropy credits the bytes to the kernel's pool and makes its generator use them at once: clones of one memory
// image would otherwise all give the same "random" numbers.
func AddEntropy(entropy []byte) error {
	fd, err := urandom()
	if err != nil {
		return fmt.Errorf("open /dev/urandom: %w", err)
	}
	// struct rand_pool_info: entropy in bits, size in bytes, the bytes.
	info := make([]byte, 8+len(entropy))
	binary.NativeEndian.PutUint32(info, uint32(len(entropy)*8))
	binary.NativeEndian.PutUint32(info[4:], uint32(len(entropy)))
	copy(info[8:], entropy)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&info[0])))
	runtime.KeepAlive(info)
	if errno != 0 {
		return fmt.Errorf("add entropy to the kernel's pool: %w", errno)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.RNDRESEEDCRNG, 0); errno != 0 {
		return fmt.Errorf("reseed the kernel's generator: %w", errno)
	}
	return nil
}

// urandom is opened once: a restored machine would run all of open for the first time there.
var urandom = sync.OnceValues(func() (int, error) { return unix.Open("/dev/urandom", unix.O_RDWR|unix.O_CLOEXEC, 0) })

// SetClock sets the wall clock.
func SetClock(unixNanos int64) error {
	now := unix.NsecToTimespec(unixNanos)
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return nil
}

// SetBootID lets the machine show the given boot id. The kernel's own is in the memory image and can only be covered.
func SetBootID(id string) error {
	if err := unix.Mkdir("/run/pyro", 0o755); err != nil && err != unix.EEXIST {
		return fmt.Errorf("make /run/pyro: %w", err)
	}
	// Written in place: a bind mount shows the file, not the name; and all ids have one length.
	fresh := false
	fd, err := unix.Open(bootIDSource, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err == unix.ENOENT {
		fresh = true
		fd, err = unix.Open(bootIDSource, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_CREAT|unix.O_EXCL, 0o444)
	}
	if err != nil {
		return fmt.Errorf("open the boot id: %w", err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(id+"\n")); err != nil {
		return fmt.Errorf("write the boot id: %w", err)
	}
	if !fresh {
		return nil
	}
	if err := unix.Mount(bootIDSource, bootIDPath, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cover the boot id: %w", err)
	}
	return nil
}

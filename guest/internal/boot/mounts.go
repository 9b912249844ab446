// Package boot makes a machine of the bare kernel: it is what an init does before, and at, the mounting of the root.
// Everything here runs as PID 1 of the initramfs and nowhere else.
package boot

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

type mount struct {
	target, filesystem string
	flags              uintptr
	data               string
}

// kernelMounts are the file systems of the machine itself; they outlive the switch to the environment's root.
func kernelMounts() []mount {
	const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	return []mount{
		{"/proc", "proc", safe, ""},
		{"/sys", "sysfs", safe, ""},
		{"/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
		{"/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666"},
		{"/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"/sys/fs/cgroup", "cgroup2", safe, ""},
	}
}

// deviceLinks are what udev would make; the kernel does not.
func deviceLinks() map[string]string {
	return map[string]string{
		"/dev/fd":     "/proc/self/fd",
		"/dev/stdin":  "/proc/self/fd/0",
		"/dev/stdout": "/proc/self/fd/1",
		"/dev/stderr": "/proc/self/fd/2",
	}
}

func mountAll() error {
	for _, m := range kernelMounts() {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return fmt.Errorf("make the mount point %q: %w", m.target, err)
		}
		if err := unix.Mount(m.filesystem, m.target, m.filesystem, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %q: %w", m.filesystem, m.target, err)
		}
	}
	for link, target := range deviceLinks() {
		if err := os.Symlink(target, link); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make the link %q: %w", link, err)
		}
	}
	if err := os.Mkdir("/run/lock", 0o755); err != nil {
		return fmt.Errorf("make /run/lock: %w", err)
	}
	return os.Chmod("/run/lock", 0o1777|os.ModeSticky)
}

// loopbackUp brings up lo; the kernel gives it its addresses.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket to configure lo: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("name the interface lo: %w", err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	return nil
}

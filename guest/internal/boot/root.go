package boot

import (
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// newRoot is where the environment's disk is mounted before it becomes the root.
const newRoot = "/newroot"

// deviceWait bounds the wait for a disk that the kernel has not found yet.
const deviceWait = 2 * time.Second

// SwitchRoot mounts the device and makes it the root of the whole machine, as switch_root(8) does: the new root is
// moved over the old one, so that commands are not "chrooted" for the kernel, which would refuse them user namespaces.
func SwitchRoot(device, filesystem string) error {
	if err := waitForDevice(device); err != nil {
		return err
	}
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return fmt.Errorf("make the mount point %q: %w", newRoot, err)
	}
	// noatime: reading a file must not write to the disk.
	if err := unix.Mount(device, newRoot, filesystem, unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("mount %q: %w", device, err)
	}
	if err := moveInto(newRoot); err != nil {
		return err
	}
	if err := unix.Chdir(newRoot); err != nil {
		return fmt.Errorf("enter the new root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the new root to /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change to the new root: %w", err)
	}
	return unix.Chdir("/")
}

// UncoverTmp takes the machine's own /tmp away: what is written there from now on is on the disk.
func UncoverTmp() error {
	// Nobody has anything open there, or keeps it.
	return unix.Unmount("/tmp", unix.MNT_DETACH)
}

func waitForDevice(device string) error {
	for deadline := time.Now().Add(deviceWait); ; time.Sleep(2 * time.Millisecond) {
		_, err := os.Stat(device)
		if err == nil || !errors.Is(err, os.ErrNotExist) || time.Now().After(deadline) {
			return err
		}
	}
}

// moveInto moves the machine's own file systems under the new root; those mounted below them go along.
func moveInto(root string) error {
	for _, m := range kernelMounts() {
		if path.Dir(m.target) != "/" {
			continue
		}
		target := root + m.target
		// The image may have anything there; only a directory is good.
		if info, err := os.Lstat(target); err != nil || !info.IsDir() {
			_ = os.Remove(target)
			if err := os.Mkdir(target, 0o755); err != nil {
				return fmt.Errorf("make %q in the environment: %w", m.target, err)
			}
		}
		if err := unix.Mount(m.target, target, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %q into the environment: %w", m.target, err)
		}
	}
	return nil
}

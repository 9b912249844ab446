package builder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

const targetPath = "/target"

// target is the mounted file system of the image.
type target struct {
	device string
	top    int
	mounts []string
}

// mountTarget prefers speed: what was not finished is thrown away, so order and barriers protect nothing.
func mountTarget(device string) (*target, error) {
	if err := os.MkdirAll(targetPath, 0o755); err != nil {
		return nil, fmt.Errorf("make the mount point of the image: %w", err)
	}
	var err error
	for _, options := range []string{"data=writeback,nobarrier,noauto_da_alloc,commit=300", "nobarrier,noauto_da_alloc", ""} {
		if err = unix.Mount(device, targetPath, "ext4", unix.MS_NOATIME, options); err != unix.EINVAL {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("mount the image's disk %q: %w", device, err)
	}
	t := &target{device: device, top: -1, mounts: []string{targetPath}}
	if t.top, err = unix.Open(targetPath, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		_, finishErr := t.finish()
		return nil, errors.Join(fmt.Errorf("open the image's root: %w", err), finishErr)
	}
	// No layer brought it: mke2fs did, and fsck makes it again where it needs it.
	_ = unix.Unlinkat(t.top, "lost+found", unix.AT_REMOVEDIR)
	return t, nil
}

// mountForSteps gives the commands of the steps what every Linux command expects.
func (t *target) mountForSteps() error {
	for _, m := range []struct {
		source, name, filesystem string
		flags                    uintptr
	}{
		{"proc", "proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"sysfs", "sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY},
		{"/dev", "dev", "", unix.MS_BIND | unix.MS_REC},
	} {
		path := filepath.Join(targetPath, m.name)
		// The image may have anything there; a link would lead the mount elsewhere.
		if info, err := os.Lstat(path); err != nil || !info.IsDir() {
			_ = os.Remove(path)
			if err := os.Mkdir(path, 0o755); err != nil {
				return fmt.Errorf("make /%s in the image: %w", m.name, err)
			}
		}
		if err := unix.Mount(m.source, path, m.filesystem, m.flags, ""); err != nil {
			return fmt.Errorf("mount /%s in the image: %w", m.name, err)
		}
		t.mounts = append(t.mounts, path)
	}
	return nil
}

// finishInto finishes what a result is of, also after a failure; there is no result without it.
func (t *target) finishInto(result **guestv1.BuildResult, err *error) {
	used, finishErr := t.finish()
	if *err = errors.Join(*err, finishErr); *err != nil {
		*result = nil
		return
	}
	(*result).UsedBytes = used
}

// finish writes everything, tells how much is in use, and unmounts.
func (t *target) finish() (usedBytes uint64, err error) {
	var failures []error
	if t.top >= 0 {
		if err := unix.Syncfs(t.top); err != nil {
			failures = append(failures, fmt.Errorf("write the image: %w", err))
		}
		var disk unix.Statfs_t
		if err := unix.Fstatfs(t.top, &disk); err != nil {
			failures = append(failures, fmt.Errorf("measure the image: %w", err))
		}
		usedBytes = (disk.Blocks - disk.Bfree) * uint64(disk.Bsize)
		_ = unix.Close(t.top)
	}
	for i := len(t.mounts) - 1; i >= 0; i-- {
		flags := 0
		if i > 0 {
			// /dev brings its own mounts along, and nothing of the image lies there.
			flags = unix.MNT_DETACH
		}
		if err := unix.Unmount(t.mounts[i], flags|unix.UMOUNT_NOFOLLOW); err != nil {
			failures = append(failures, fmt.Errorf("unmount %q: %w", t.mounts[i], err))
		}
	}
	if err := syncDevice(t.device); err != nil {
		failures = append(failures, err)
	}
	return usedBytes, errors.Join(failures...)
}

// syncDevice has the VMM write out what it keeps of a disk in its own memory: the mount, without barriers, never asks for that.
func syncDevice(path string) error {
	device, err := os.Open(path)
	if err != nil {
		return err
	}
	defer device.Close()
	if err := device.Sync(); err != nil {
		return fmt.Errorf("flush the image's disk: %w", err)
	}
	return nil
}

package boot

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/inodes"
	"pyro/guest/internal/rootdir"
)

// inodeReadahead is in blocks of 4 KiB: who asks for one inode of the baseline is about to ask for all.
const inodeReadahead = "512"

// Baseline is the second disk of the machine: what the root was when the workspace was made. It is mounted when it is
// first asked for, read-only, and attached nowhere, so that no path of the guest leads to it.
type Baseline struct {
	Device string

	mu      sync.Mutex
	mounted bool
	top     int
	// Of the device, while its inodes can be read there; nothing where they cannot.
	device int
	inodes bool
}

// Root mounts the disk, or gives the tree that was mounted before.
func (b *Baseline) Root() (rootdir.Root, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.mounted {
		top, err := mountDetached(b.Device)
		if err != nil {
			return rootdir.Root{}, err
		}
		b.top, b.mounted = top, true
		b.openInodes()
	}
	return rootdir.OfDescriptor(b.top), nil
}

// openInodes leaves it at nothing where the disk is of another kind: then inodes are looked at by name.
func (b *Baseline) openInodes() {
	fd, err := unix.Open(b.Device, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	if _, err := inodes.Open(fd); err != nil {
		_ = unix.Close(fd)
		return
	}
	b.device, b.inodes = fd, true
}

// Inodes gives a reader of the disk's inodes, for one comparison; nil before Root, and where they cannot be read.
func (b *Baseline) Inodes() *inodes.Table {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.inodes {
		return nil
	}
	table, err := inodes.Open(b.device)
	if err != nil {
		return nil
	}
	return table
}

func mountDetached(device string) (int, error) {
	if err := forgetCached(device); err != nil {
		return -1, fmt.Errorf("open the disk %q: %w", device, err)
	}
	context, err := unix.Fsopen("ext4", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("begin to mount %q: %w", device, err)
	}
	defer unix.Close(context)
	if err := unix.FsconfigSetString(context, "source", device); err != nil {
		return -1, fmt.Errorf("mount %q: %w", device, err)
	}
	// noload: the disk was sealed while its file system was held, so there is nothing to replay; and nothing may be.
	for _, flag := range []string{"ro", "noload"} {
		if err := unix.FsconfigSetFlag(context, flag); err != nil {
			return -1, fmt.Errorf("mount %q with %s: %w", device, flag, err)
		}
	}
	if err := unix.FsconfigSetString(context, "inode_readahead_blks", inodeReadahead); err != nil {
		return -1, fmt.Errorf("mount %q with a larger read-ahead: %w", device, err)
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return -1, fmt.Errorf("mount %q: %w", device, err)
	}
	const attributes = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOATIME
	top, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return -1, fmt.Errorf("mount %q: %w", device, err)
	}
	return top, nil
}

// forgetCached drops what the kernel remembers of a disk: a template's machine has seen other blocks in its place.
func forgetCached(device string) error {
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.IoctlSetInt(fd, unix.BLKFLSBUF, 0)
}

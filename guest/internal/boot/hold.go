package boot

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// From linux/fs.h: _IOWR('X', 119, int) and 120.
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// FreezeRoot writes the root file system out whole and lets nothing write to it until ThawRoot. Whoever tries waits.
func FreezeRoot() error { return rootIoctl("hold", fiFreeze) }

// ThawRoot is the end of FreezeRoot; EINVAL says that nothing was held.
func ThawRoot() error { return rootIoctl("let go on", fiThaw) }

func rootIoctl(verb string, request uint) error {
	fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the root: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.IoctlSetInt(fd, request, 0); err != nil {
		return fmt.Errorf("%s the writes to the root: %w", verb, err)
	}
	return nil
}

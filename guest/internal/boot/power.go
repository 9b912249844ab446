package boot

import "golang.org/x/sys/unix"

// SettleDisks writes everything to the disks and leaves the root read-only, so that it needs no recovery. Nothing may
// be writing any more; if something is, the root stays as it is, synced.
func SettleDisks() error {
	unix.Sync()
	return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// PowerOff ends the machine. It returns only when the kernel refused.
func PowerOff() error {
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

package boot

import (
	"os"
	"path"
)

// plainQueues takes the scheduler from in front of the disks: the host has its own, and in an emulated guest each step
// of a request costs. A disk that keeps its scheduler works as well.
func plainQueues() {
	disks, _ := os.ReadDir("/sys/block")
	for _, disk := range disks {
		_ = os.WriteFile(path.Join("/sys/block", disk.Name(), "queue/scheduler"), []byte("none"), 0)
	}
}

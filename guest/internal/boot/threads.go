package boot

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// spareThreads is as many as the agent has in its first minute.
const spareThreads = 8

// SpareThreads lets Go's runtime make threads, which it keeps: it makes one whenever a system call takes long and none
// is idle, and in a machine that was just restored under emulation each call does.
func SpareThreads() {
	var asleep sync.WaitGroup
	for range spareThreads {
		asleep.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			nap := unix.NsecToTimespec(int64(20 * time.Millisecond))
			_ = unix.Nanosleep(&nap, nil)
		})
	}
	asleep.Wait()
}

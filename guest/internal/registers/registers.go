// Package registers clears what the threads of the agent hold besides memory. Bytes are copied by way of the vector
// registers, 256 at once: where a thread sleeps afterwards, the kernel keeps them for it, and so does the frame of a signal
// that came in between.
package registers

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// standing is how many goroutines stand together at least: about twice as many as the agent has threads, so that
	// usually no round makes any. A round that is the first may make some, which are kept.
	standing = 24
	// asleep threads are never idle: the runtime's own, its receiver of signals, and the poller of output, which wipes its own.
	asleep = 6
	// maxStanding bounds a round, and with it what rounds make.
	maxStanding = 64
	// gatherTime bounds the wait until all stand together.
	gatherTime = time.Second
)

// Wipe clears the calling thread's.
func Wipe() { wipe(copied) }

// What one copy takes through all sixteen: runtime.memmove, 129 to 256 bytes.
var copied = 256

//go:noinline
func wipe(n int) {
	var from, to [256]byte
	copy(to[:n], from[:n])
}

// WipeAll clears those of the threads that Go's runtime runs goroutines on. The second round is for the thread on which
// the receiver of signals slept during the first.
func WipeAll() {
	for range 2 {
		wipeIdle()
	}
}

// wipeIdle lets more goroutines than there are idle threads stand together, each on a thread of its own. Each sends
// itself a signal: the frame of its last one is overwritten, and the receiver of signals moves to another thread.
func wipeIdle() {
	var gate [2]int
	if unix.Pipe2(gate[:], unix.O_CLOEXEC) != nil {
		return
	}
	defer unix.Close(gate[0])
	idle := min(max(threads()-asleep, standing), maxStanding)
	var arrived atomic.Int64
	var gone sync.WaitGroup
	for range idle {
		gone.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			Wipe()
			_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGCHLD)
			Wipe()
			arrived.Add(1)
			var none [1]byte
			_, _ = unix.Read(gate[0], none[:])
		})
	}
	for deadline := time.Now().Add(gatherTime); arrived.Load() < int64(idle) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	_ = unix.Close(gate[1])
	gone.Wait()
}

// threads counts those of the process.
func threads() int {
	tasks, _ := os.ReadDir("/proc/self/task")
	return len(tasks)
}

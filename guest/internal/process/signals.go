package process

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// Linux numbers its real-time signals from 32; the C library keeps the first two.
const (
	firstRealTime = 34
	lastRealTime  = 64
)

func exitStatus(status syscall.WaitStatus) *guestv1.ExitStatus {
	if status.Signaled() {
		return &guestv1.ExitStatus{Signal: SignalName(status.Signal())}
	}
	return &guestv1.ExitStatus{Code: uint32(status.ExitStatus())}
}

// SignalName is "SIGINT" and the like.
func SignalName(signal syscall.Signal) string {
	if name := unix.SignalName(signal); name != "" {
		return name
	}
	if signal >= firstRealTime && signal <= lastRealTime {
		return fmt.Sprintf("SIGRTMIN+%d", signal-firstRealTime)
	}
	return fmt.Sprintf("SIG%d", signal)
}

// SignalNumber is the inverse; 0 is no signal.
func SignalNumber(name string) unix.Signal {
	if number := unix.SignalNum(name); number != 0 {
		return number
	}
	var offset int
	if n, err := fmt.Sscanf(name, "SIGRTMIN+%d", &offset); err == nil && n == 1 && offset >= 0 && offset <= lastRealTime-firstRealTime {
		return unix.Signal(firstRealTime + offset)
	}
	return 0
}

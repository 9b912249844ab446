package boot

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is what Start made.
type Machine struct {
	Groups      *Groups
	Modules     *Modules
	ModulesTime time.Duration
}

// Start makes the machine: file systems, loopback, modules, control groups. It takes the boot modules from the list
// "boot" of the bundle; the rest waits for who needs it.
func Start() (*Machine, error) {
	swallowSignals()
	unix.Umask(0o022)
	if err := mountAll(); err != nil {
		return nil, err
	}
	// The kernel calls it after its file, "init". Not by prctl: that names the calling thread.
	if err := os.WriteFile("/proc/self/comm", []byte("pyro-agent"), 0); err != nil {
		return nil, fmt.Errorf("take the agent's name: %w", err)
	}
	// The initramfs gives 1,024 and 4,096; commands inherit these, and may raise the first to the second.
	limit := syscall.Rlimit{Cur: 4096, Max: 1 << 20}
	if err := syscall.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("raise the limit of open files: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return nil, err
	}
	modules, err := openModules()
	if err != nil {
		return nil, err
	}
	begin := Uptime()
	if err := modules.Load("boot"); err != nil {
		return nil, err
	}
	modulesTime := Uptime() - begin
	plainQueues()
	groups, err := makeGroups()
	if err != nil {
		return nil, err
	}
	return &Machine{Groups: groups, Modules: modules, ModulesTime: modulesTime}, nil
}

// swallowSignals lets no signal end PID 1: the Go runtime would exit for some, and the machine with it. Ignoring them
// would be inherited by the commands; a channel that nobody reads is not.
func swallowSignals() {
	signal.Notify(make(chan os.Signal, 1))
}

// Uptime is the time since the kernel began.
func Uptime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}

// KernelRelease is what `uname -r` prints.
func KernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Release[:])
}

// Package confined runs tests where a fault of what they test cannot harm the machine that runs them. Code that writes and
// deletes what a hostile archive names is tested as root, since owners and devices take root: one wrong flag in it, and a test's
// own input would empty this machine's root directory.
package confined

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// state is the variable by which a process knows how far it is: unset, begun or done. Workers of a fuzzer inherit it.
const state = "PYRO_TESTS_CONFINED"

// Run is m.Run, for root in a mount namespace of its own in which all is read-only but the directory of temporary files and
// what `go test` has its tests write. Ordinary users are held by their rights. It is for TestMain: os.Exit(confined.Run(m)).
func Run(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run()
	}
	var err error
	switch os.Getenv(state) {
	case "":
		var code int
		if code, err = again(); err == nil {
			return code
		}
	case "begun":
		err = confine()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "confined: as root these tests need a mount namespace of their own:", err)
		return 1
	}
	return m.Run()
}

// again runs this program once more: a namespace is entered by a process before it has threads.
func again() (int, error) {
	scratch, err := os.MkdirTemp("", "confined-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(scratch)
	command := exec.Command("/proc/self/exe", os.Args[1:]...)
	command.Args[0] = os.Args[0]
	command.Env = append(os.Environ(), state+"=begun", "TMPDIR="+scratch)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err = command.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return max(ended.ExitCode(), 1), nil
	}
	return 0, err
}

func confine() error {
	flag.Parse()
	open := writable()
	for _, directory := range open {
		if err := unix.Mount(directory, directory, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", directory, err)
		}
	}
	closed := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &closed); err != nil {
		return fmt.Errorf("make everything read-only: %w", err)
	}
	for _, directory := range open {
		if err := unix.MountSetattr(unix.AT_FDCWD, directory, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("keep %s writable: %w", directory, err)
		}
	}
	// The working directory is still the one below what was mounted on it.
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	if err := os.Chdir(here); err != nil {
		return err
	}
	return os.Setenv(state, "done")
}

// writable names what has to stay so: flags of `go test` that name files, and where a fuzzer leaves what it found.
func writable() []string {
	open := []string{os.TempDir()}
	for _, name := range []string{"testlogfile", "coverprofile", "cpuprofile", "memprofile", "trace"} {
		if path := value(name); path != "" {
			open = append(open, filepath.Dir(path))
		}
	}
	for _, name := range []string{"fuzzcachedir", "gocoverdir", "outputdir"} {
		if path := value(name); path != "" && os.MkdirAll(path, 0o777) == nil {
			open = append(open, path)
		}
	}
	if here, err := os.Getwd(); value("fuzz") != "" && err == nil {
		open = append(open, here)
	}
	return open
}

func value(name string) string {
	if found := flag.Lookup("test." + name); found != nil {
		return found.Value.String()
	}
	return ""
}

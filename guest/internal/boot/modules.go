package boot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Modules are the kernel modules of the runtime bundle. They stay in the initramfs, which a descriptor keeps in reach
// when another root lies over it.
type Modules struct {
	initramfs int
}

func openModules() (*Modules, error) {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the initramfs: %w", err)
	}
	return &Modules{initramfs: fd}, nil
}

// ErrUnknownGroup says that the bundle has no such group of modules.
var ErrUnknownGroup = errors.New("the runtime bundle has no such group of modules")

// Load loads the modules of a group, in the order of its list. What is loaded already is no error.
func (m *Modules) Load(group string) error {
	if !validGroup(group) {
		return ErrUnknownGroup
	}
	list, err := m.open(group + ".list")
	if errors.Is(err, os.ErrNotExist) {
		return ErrUnknownGroup
	}
	if err != nil {
		return err
	}
	var content bytes.Buffer
	_, err = content.ReadFrom(list)
	_ = list.Close()
	if err != nil {
		return fmt.Errorf("read the list of modules %q: %w", group, err)
	}
	for _, name := range parseModuleList(content.String()) {
		if err := m.loadOne(name); err != nil {
			return err
		}
	}
	return nil
}

func (m *Modules) loadOne(name string) error {
	file, err := m.open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.FinitModule(int(file.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return fmt.Errorf("load the module %q: %w", name, err)
	}
	return nil
}

func (m *Modules) open(name string) (*os.File, error) {
	fd, err := unix.Openat(m.initramfs, "modules/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "modules/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func validGroup(group string) bool {
	return len(group) > 0 && len(group) <= 32 && strings.Trim(group, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// parseModuleList reads one file name per line; empty lines and comments do not count.
func parseModuleList(content string) []string {
	var names []string
	for line := range strings.Lines(content) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			names = append(names, line)
		}
	}
	return names
}

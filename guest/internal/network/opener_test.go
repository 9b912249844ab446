package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/cgroup"
)

// dialEnv makes TestAsAProgram a program that connects to its value.
const dialEnv = "PYRO_TEST_DIAL"

func TestAsAProgram(t *testing.T) {
	address := os.Getenv(dialEnv)
	if address == "" {
		t.Skip("it is run by another test")
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// newGroups makes a parent of commands' groups, and one of them.
func newGroups(t *testing.T) (parent, command *cgroup.Group) {
	t.Helper()
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		root, err := cgroup.OpenRoot(mount)
		if err != nil {
			continue
		}
		parent, err := root.Create(fmt.Sprintf("pyro-network-test-%d", os.Getpid()))
		if err != nil {
			root.Close()
			continue
		}
		command, err := parent.Create("command-1")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			command.Close()
			if err := parent.Remove(); err != nil {
				t.Error(err)
			}
			parent.Close()
			root.Close()
		})
		return parent, command
	}
	t.Skip("no control groups can be made here")
	return nil, nil
}

func TestTheHostIsToldWhoseAConnectionIs(t *testing.T) {
	parent, command := newGroups(t)
	m := newMachine(t)
	number, err := command.Number()
	if err != nil {
		t.Fatal(err)
	}
	m.options.Commands = Commands{Group: parent, Level: 2, OwnerOf: func(group uint64) string {
		if group != number {
			t.Errorf("group %d instead of %d", group, number)
		}
		return "process-7"
	}}
	owners := make(chan string, 1)
	m.meet(t, &gateway{connect: func(_ context.Context, target *guestv1.ConnectTarget, both requests) error {
		owners <- target.OpenedBy
		return refuse(guestv1.RefusedBecause_REFUSED_BECAUSE_REFUSED)(context.Background(), target, both)
	}})
	m.egress(t, true)
	for _, address := range []string{"203.0.113.7:443", "[2001:db8::1]:443", "[::ffff:203.0.113.7]:443"} {
		program := exec.Command("/proc/self/exe", "-test.run", "^TestAsAProgram$")
		program.Env = append(os.Environ(), dialEnv+"="+address)
		program.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: command.FD()}
		if err := program.Run(); err == nil {
			t.Error("a refused program connected")
		}
		if owner := <-owners; owner != "process-7" {
			t.Errorf("%s is opened by %q", address, owner)
		}
		// The same from outside of the group: the note of before does not count.
		if _, err := tryDial(address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
		if owner := <-owners; owner != "" {
			t.Errorf("%s is opened by %q, who did not", address, owner)
		}
	}
}

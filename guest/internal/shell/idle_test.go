package shell_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

func TestAWaitForIdlenessEndsWithTheNextPrompt(t *testing.T) {
	for _, program := range [][]string{
		{"bash", "--norc", "--noprofile"},
		{"sh"},
	} {
		f := newFixture(t)
		id := f.open(program...)
		f.settled(id)
		for i := range 20 {
			f.write(id, fmt.Sprintf("sleep 0.0%d; echo mark$((%d+1000))\n", i%7, i))
			read := f.settled(id)
			if read.end.Idle != guestv1.ShellIdle_SHELL_IDLE_INPUT || !bytes.Contains(read.data, []byte(fmt.Sprintf("mark%d", i+1000))) {
				t.Fatalf("%v: %v after %q", program, read.end.Idle, read.data)
			}
		}
	}
}

func TestEachWayToWaitForATerminalIsSeen(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("no python3 here")
	}
	f := newFixture(t)
	for name, program := range map[string]string{
		"read":   "input('in: ')",
		"select": "import select,sys; print('in: ',end='',flush=True); select.select([0],[],[])",
		"poll":   "import select,sys; print('in: ',end='',flush=True); p=select.poll(); p.register(0,select.POLLIN); p.poll()",
		"tty":    "import getpass; getpass.getpass('in: ')",
	} {
		id := f.open("python3", "-c", program)
		read := f.settled(id)
		if read.end.Idle != guestv1.ShellIdle_SHELL_IDLE_INPUT || !strings.HasPrefix(string(read.data), "in: ") {
			t.Errorf("%s: %v %q", name, read.end.Idle, read.data)
		}
	}
	for name, program := range map[string]string{
		"a wait that ends by itself": "import select; select.select([0],[],[],100)",
		"a wait for more":            "import select,os; r,w=os.pipe(); select.select([0,r],[],[])",
		"sleep":                      "import time; time.sleep(100)",
	} {
		id := f.open("python3", "-c", program)
		read := f.read(&guestv1.ReadShellRequest{ShellId: id, WaitForIdleMs: 400, MaxWaitMs: 10_000})
		if read.end.Idle != guestv1.ShellIdle_SHELL_IDLE_QUIET {
			t.Errorf("%s: %v", name, read.end.Idle)
		}
	}
}

func TestAWaitForIdlenessIsBounded(t *testing.T) {
	f := newFixture(t)
	id := f.open("sh", "-c", "while :; do echo x; sleep 0.02; done")
	read := f.read(&guestv1.ReadShellRequest{ShellId: id, WaitForIdleMs: 1000, MaxWaitMs: 300})
	if read.end.Idle != guestv1.ShellIdle_SHELL_IDLE_TIMEOUT || len(read.data) == 0 {
		t.Error(read.end.Idle, len(read.data))
	}
}

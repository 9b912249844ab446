package shell_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/shell"
)

func TestAShellHasATerminalOfItsOwnAndKeepsItsState(t *testing.T) {
	f := newFixture(t)
	id := f.open()
	f.settled(id)
	f.write(id, "tty; stty size; here=42\n")
	f.settled(id)
	f.write(id, "echo [$here]\n")
	read := f.settled(id)
	for _, text := range []string{"/dev/pts/", "24 80\r\n", "[42]\r\n"} {
		if !bytes.Contains(read.data, []byte(text)) {
			t.Errorf("no %q in %q", text, read.data)
		}
	}
	if read.end.Idle != guestv1.ShellIdle_SHELL_IDLE_INPUT {
		t.Error(read.end.Idle)
	}
}

func TestALoginShellIsOpenedWhereNothingIsNamed(t *testing.T) {
	f := newFixture(t)
	opened, err := f.client.Open(t.Context(), &guestv1.OpenShellRequest{ShellId: "login", Cwd: []byte("/"), Cols: 80, Rows: 24})
	if err != nil {
		t.Fatal(err)
	}
	if name := string(opened.Shell.Argv[0]); name != "bash" && name != "sh" {
		t.Fatal(name)
	}
}

func TestARepeatedOpenGivesTheSameShellAndARepeatedWriteTypesOnce(t *testing.T) {
	f := newFixture(t)
	id := f.open("cat")
	first, err := f.client.List(t.Context())
	if err != nil || len(first.Shells) != 1 {
		t.Fatal(first, err)
	}
	again, err := f.client.Open(t.Context(), &guestv1.OpenShellRequest{ShellId: id, Argv: [][]byte{[]byte("cat")}, Cwd: []byte("/"), Cols: 80, Rows: 24})
	if err != nil || again.Shell.Pid != first.Shells[0].Pid {
		t.Fatal(again, err)
	}
	for range 3 {
		written, err := f.client.Write(t.Context(), &guestv1.WriteShellRequest{ShellId: id, Data: []byte("once\n"), WriteId: 7})
		if err != nil || written.AcceptedBytes != 5 {
			t.Fatal(written, err)
		}
	}
	if read := f.settled(id); string(read.data) != "once\r\nonce\r\n" {
		t.Fatalf("%q", read.data)
	}
}

func TestTheExitOfAShellAndItsLastOutputAreKept(t *testing.T) {
	f := newFixture(t)
	for _, test := range []struct {
		argv []string
		want *guestv1.ShellExit
	}{
		{[]string{"sh", "-c", "printf last; exit 3"}, &guestv1.ShellExit{Code: 3}},
		{[]string{"sh", "-c", "printf last; kill -9 $$"}, &guestv1.ShellExit{Signal: "SIGKILL"}},
	} {
		id := f.open(test.argv...)
		read := f.read(&guestv1.ReadShellRequest{ShellId: id, Follow: true})
		if string(read.data) != "last" || read.end.Shell.Running {
			t.Errorf("%q %v", read.data, read.end)
		}
		if exit := read.end.Shell.Exit; exit.Code != test.want.Code || exit.Signal != test.want.Signal {
			t.Error(exit)
		}
		_, err := f.client.Write(t.Context(), &guestv1.WriteShellRequest{ShellId: id, Data: []byte("x")})
		if agenttest.CodeOf(err) != "SHELL_EXITED" {
			t.Error(err)
		}
		if again := f.settled(id); string(again.data) != "last" || again.end.Idle != guestv1.ShellIdle_SHELL_IDLE_EXITED {
			t.Error(again)
		}
		if closed := f.close(id, time.Second); closed.Exit.Signal != test.want.Signal || closed.Exit.Code != test.want.Code {
			t.Error(closed)
		}
		_, err = f.tryRead(t.Context(), &guestv1.ReadShellRequest{ShellId: id})
		if agenttest.CodeOf(err) != "SHELL_NOT_FOUND" {
			t.Error(err)
		}
	}
}

func TestTheRingKeepsTheNewestBytesAndCountsAllOfThem(t *testing.T) {
	f := newFixture(t)
	const bytesShown = 3 << 20
	id := f.open("sh", "-c", fmt.Sprintf("stty -opost; head -c %d /dev/zero | tr '\\0' x; printf END", bytesShown))
	read := f.read(&guestv1.ReadShellRequest{ShellId: id, Follow: true})
	if read.end.Shell.TotalBytes != bytesShown+3 {
		t.Fatal(read.end)
	}
	late := f.read(&guestv1.ReadShellRequest{ShellId: id})
	info := late.end.Shell
	if late.first != info.FirstByte || uint64(len(late.data)) != info.TotalBytes-info.FirstByte || late.gaps != info.FirstByte {
		t.Fatal(late.first, len(late.data), info)
	}
	if len(late.data) > shell.RingBytes || len(late.data) < shell.RingBytes*9/10 || !bytes.HasSuffix(late.data, []byte("xEND")) {
		t.Fatal(len(late.data))
	}
	part := f.read(&guestv1.ReadShellRequest{ShellId: id, Offset: info.TotalBytes - 5, MaxBytes: 3})
	if string(part.data) != "xxE" {
		t.Fatalf("%q", part.data)
	}
	_, err := f.tryRead(t.Context(), &guestv1.ReadShellRequest{ShellId: id, Offset: info.TotalBytes + 1})
	if agenttest.CodeOf(err) != "INVALID_ARGUMENT" {
		t.Fatal(err)
	}
}

func TestBytesOfAnyKindPassBothWays(t *testing.T) {
	f := newFixture(t)
	id := f.open("sh", "-c", "stty raw -echo; printf ready; head -c 256 | od -An -v -tx1 | tr -d ' \n'; printf '\\000\\377\\033'")
	f.until(id, "ready")
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	f.write(id, string(all))
	read := f.read(&guestv1.ReadShellRequest{ShellId: id, Follow: true})
	if want := "ready" + fmt.Sprintf("%x", all) + "\x00\xff\x1b"; string(read.data) != want {
		t.Fatalf("%q", read.data)
	}
}

func TestSeveralReadersFollowAndOneThatVanishesCostsNothing(t *testing.T) {
	f := newFixture(t)
	id := f.open("cat")
	gone, leave := context.WithCancel(t.Context())
	var left sync.WaitGroup
	left.Go(func() { _, _ = f.tryRead(gone, &guestv1.ReadShellRequest{ShellId: id, Follow: true}) })
	readers := make([]outcome, 3)
	failures := make([]error, len(readers))
	var done sync.WaitGroup
	for i := range readers {
		done.Go(func() {
			readers[i], failures[i] = f.tryRead(t.Context(), &guestv1.ReadShellRequest{ShellId: id, Follow: true})
		})
	}
	f.write(id, "one\n")
	f.until(id, "one\r\none")
	leave()
	left.Wait()
	f.write(id, "two\n\x04")
	done.Wait()
	for i, read := range readers {
		if failures[i] != nil {
			t.Fatal(failures[i])
		}
		if string(read.data) != "one\r\none\r\ntwo\r\ntwo\r\n" || read.end.Shell.Exit.Code != 0 {
			t.Errorf("%q %v", read.data, read.end)
		}
	}
}

func TestKeysAndSignalsReachTheForegroundOnly(t *testing.T) {
	f := newFixture(t)
	id := f.open("bash", "--norc", "--noprofile")
	f.settled(id)
	f.write(id, "sleep 1000\n")
	f.until(id, "sleep 1000")
	running := f.read(&guestv1.ReadShellRequest{ShellId: id, WaitForIdleMs: 100, MaxWaitMs: 5000})
	if running.end.Idle != guestv1.ShellIdle_SHELL_IDLE_QUIET {
		t.Error(running.end.Idle)
	}
	f.write(id, "\x03")
	f.settled(id)
	f.write(id, "echo after $?\n")
	if read := f.until(id, "after 130"); read.end.Shell.Exit != nil {
		t.Error(read.end)
	}
	// A key that makes a signal throws away what was typed before it and not read.
	busy := &guestv1.ReadShellRequest{ShellId: id, WaitForIdleMs: 100, MaxWaitMs: 5000}
	f.write(id, "sleep 1001\n")
	f.read(busy)
	f.write(id, "\x1a")
	f.until(id, "Stopped")
	f.write(id, "fg\n")
	f.read(busy)
	for _, name := range []string{"SIGTERM", "SIGINT"} {
		if _, err := f.client.Signal(t.Context(), &guestv1.SignalShellRequest{ShellId: id, Signal: name}); err != nil {
			t.Fatal(err)
		}
	}
	f.settled(id)
	f.write(id, "echo alive $((1+1))\n")
	f.until(id, "alive 2")
	if _, err := f.client.Signal(t.Context(), &guestv1.SignalShellRequest{ShellId: id, Signal: "NOPE"}); agenttest.CodeOf(err) != "INVALID_ARGUMENT" {
		t.Error(err)
	}
	f.write(id, "\x04")
	if read := f.read(&guestv1.ReadShellRequest{ShellId: id, Follow: true}); read.end.Shell.Exit == nil {
		t.Error(read.end)
	}
}

func TestASizeIsKnownByTheByteFromWhichItHolds(t *testing.T) {
	f := newFixture(t)
	id := f.open("sh")
	f.settled(id)
	f.write(id, "stty size\n")
	before := f.settled(id)
	for i := range uint32(50) {
		if _, err := f.client.Resize(t.Context(), &guestv1.ResizeShellRequest{ShellId: id, Cols: 100 + i, Rows: 30}); err != nil {
			t.Fatal(err)
		}
	}
	f.write(id, "stty size\n")
	read := f.settled(id)
	if !bytes.Contains(before.data, []byte("24 80")) || !bytes.Contains(read.data, []byte("30 149")) {
		t.Errorf("%q", read.data)
	}
	first, last := read.sizes[0], read.sizes[len(read.sizes)-1]
	if first.Cols != 80 || first.Offset != 0 || last.Cols != 149 || last.Offset < before.end.Shell.TotalBytes {
		t.Error(read.sizes)
	}
	for _, wrong := range [][2]uint32{{0, 24}, {80, 0}, {shell.MaxCols + 1, 24}, {80, shell.MaxRows + 1}} {
		_, err := f.client.Resize(t.Context(), &guestv1.ResizeShellRequest{ShellId: id, Cols: wrong[0], Rows: wrong[1]})
		if agenttest.CodeOf(err) != "INVALID_ARGUMENT" {
			t.Error(wrong, err)
		}
	}
}

func TestAReaderThatFollowsHearsOfASize(t *testing.T) {
	f := newFixture(t)
	id := f.open("cat")
	var read outcome
	var done sync.WaitGroup
	done.Go(func() { read, _ = f.tryRead(t.Context(), &guestv1.ReadShellRequest{ShellId: id, Follow: true}) })
	f.write(id, "a\n")
	f.until(id, "a\r\na")
	if _, err := f.client.Resize(t.Context(), &guestv1.ResizeShellRequest{ShellId: id, Cols: 90, Rows: 20}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	f.write(id, "\x04")
	done.Wait()
	if len(read.resize) != 1 || read.resize[0].Cols != 90 {
		t.Error(read.sizes, read.resize)
	}
}

func TestClosingEndsTheWholeTreeAlsoOfWhatIgnoresHUP(t *testing.T) {
	f := newFixture(t)
	id := f.open("bash", "--norc", "--noprofile")
	f.settled(id)
	f.write(id, "sleep 98761 & (trap '' HUP; exec sleep 98762) & nohup setsid sleep 98763 >/dev/null 2>&1 &\n")
	f.settled(id)
	f.write(id, "trap '' HUP; sleep 98764\n")
	f.until(id, "sleep 98764")
	time.Sleep(200 * time.Millisecond)
	closed := f.close(id, 100*time.Millisecond)
	if closed.Running || closed.Exit.Signal != "SIGKILL" {
		t.Error(closed)
	}
	for _, words := range []string{"sleep 98761", "sleep 98762", "sleep 98763", "sleep 98764"} {
		if hasCgroups && alive(t, words) {
			t.Errorf("%q is alive", words)
		}
	}
	if _, err := f.client.Close(t.Context(), &guestv1.CloseShellRequest{ShellId: id}); agenttest.CodeOf(err) != "SHELL_NOT_FOUND" {
		t.Error(err)
	}
}

func TestAShellThatObeysHUPIsNotKilled(t *testing.T) {
	f := newFixture(t)
	id := f.open("sh", "-c", "trap 'exit 7' HUP; echo ready; while :; do sleep 0.01; done")
	f.until(id, "ready")
	if closed := f.close(id, 10*time.Second); closed.Exit.Code != 7 {
		t.Error(closed)
	}
}

func TestWhatReadsNothingTakesWhatThereIsRoomFor(t *testing.T) {
	f := newFixture(t)
	id := f.open("sh", "-c", "stty raw -echo; echo ready; sleep 100")
	f.until(id, "ready")
	total := uint64(0)
	for range 10 {
		written, err := f.client.Write(t.Context(), &guestv1.WriteShellRequest{ShellId: id, Data: bytes.Repeat([]byte("x"), 60<<10), MaxWaitMs: 10})
		if err != nil {
			t.Fatal(err)
		}
		total += written.AcceptedBytes
		if written.AcceptedBytes < 60<<10 {
			return
		}
	}
	t.Fatal("it took everything", total)
}

func TestThereAreAsManyShellsAsTheBoundSaysAndNoMore(t *testing.T) {
	f := newFixture(t)
	before := descriptors(t)
	for range shell.MaxShells {
		f.open("cat")
	}
	_, err := f.client.Open(t.Context(), &guestv1.OpenShellRequest{ShellId: "more", Argv: [][]byte{[]byte("cat")}, Cwd: []byte("/"), Cols: 80, Rows: 24})
	if agenttest.CodeOf(err) != "GUEST_PROCESS_LIMIT" {
		t.Fatal(err)
	}
	list, err := f.client.List(t.Context())
	if err != nil || len(list.Shells) != shell.MaxShells || list.Shells[9].ShellId != "shell-10" {
		t.Fatal(len(list.Shells), err)
	}
	for _, each := range list.Shells {
		f.close(each.ShellId, time.Second)
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestWhatCannotBeOpenedIsSaid(t *testing.T) {
	f := newFixture(t)
	for code, request := range map[string]*guestv1.OpenShellRequest{
		"COMMAND_NOT_FOUND":           {ShellId: "a", Argv: [][]byte{[]byte("no-such-program")}, Cols: 80, Rows: 24},
		"WORKING_DIRECTORY_NOT_FOUND": {ShellId: "b", Cwd: []byte("/no/such"), Cols: 80, Rows: 24},
		"INVALID_ARGUMENT":            {ShellId: "c", Cols: 0, Rows: 24},
	} {
		if _, err := f.client.Open(t.Context(), request); agenttest.CodeOf(err) != code {
			t.Error(code, err)
		}
	}
	if list, err := f.client.List(t.Context()); err != nil || len(list.Shells) != 0 {
		t.Error(list, err)
	}
}

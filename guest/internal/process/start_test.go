package process_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
)

func TestACommandStartsWithCleanSignalsAndOnlyItsOwnDescriptors(t *testing.T) {
	a := newAgent(t)
	r := a.run(shell("grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd"))
	for line := range strings.Lines(string(r.stdout)) {
		name, value, found := strings.Cut(strings.TrimSpace(line), ":")
		// What the test's own parent ignored is not the agent's doing.
		if found && name == "SigBlk" && strings.Trim(value, "\t0") != "" {
			t.Errorf("blocked signals: %s", value)
		}
	}
	if !strings.HasSuffix(string(r.stdout), "\n0\n1\n2\n3\n") {
		t.Errorf("descriptors: %q", r.stdout)
	}
}

func TestTheEnvironmentIsWhatWasGivenAndTheLastOfANameCounts(t *testing.T) {
	a := newAgent(t)
	request := shell("")
	request.Argv = argv("/usr/bin/env")
	request.Env = argv("A=1", "B=x=y", "A=2", "C=")
	if r := a.run(request); string(r.stdout) != "B=x=y\nA=2\nC=\n" {
		t.Fatalf("%q", r.stdout)
	}
}

func TestARepeatedStartIsAnsweredWithTheSameCommand(t *testing.T) {
	a := newAgent(t)
	request := shell("sleep 1000")
	pids := make(chan uint32, 8)
	var starts sync.WaitGroup
	for range cap(pids) {
		starts.Go(func() {
			response, err := a.Start(context.Background(), request)
			if err != nil {
				t.Error(err)
				return
			}
			pids <- response.Pid
		})
	}
	starts.Wait()
	close(pids)
	first := <-pids
	for pid := range pids {
		if pid != first {
			t.Fatalf("%d and %d", first, pid)
		}
	}
}

func TestWhatCannotBeStartedSaysWhy(t *testing.T) {
	a := newAgent(t)
	directory := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := write("plain", "x", 0o644)
	noInterpreter := write("no-interpreter", "#!/nowhere/sh\n", 0o755)
	garbage := write("garbage", "\x00\x01garbage", 0o755)
	for name, test := range map[string]struct {
		change func(*guestv1.StartRequest)
		code   string
	}{
		"no command":               {func(r *guestv1.StartRequest) { r.Argv = nil }, "INVALID_ARGUMENT"},
		"an empty command":         {func(r *guestv1.StartRequest) { r.Argv = argv("") }, "INVALID_ARGUMENT"},
		"no id":                    {func(r *guestv1.StartRequest) { r.ProcessId = "" }, "INVALID_ARGUMENT"},
		"a NUL":                    {func(r *guestv1.StartRequest) { r.Argv = argv("echo", "a\x00b") }, "INVALID_ARGUMENT"},
		"an entry without a name":  {func(r *guestv1.StartRequest) { r.Env = argv("=x") }, "INVALID_ARGUMENT"},
		"an entry without a value": {func(r *guestv1.StartRequest) { r.Env = argv("X") }, "INVALID_ARGUMENT"},
		"a relative directory":     {func(r *guestv1.StartRequest) { r.Cwd = []byte("x") }, "INVALID_ARGUMENT"},
		"a missing command":        {func(r *guestv1.StartRequest) { r.Argv = argv("no-such-command") }, "COMMAND_NOT_FOUND"},
		"a missing path":           {func(r *guestv1.StartRequest) { r.Argv = argv("/no/such") }, "COMMAND_NOT_FOUND"},
		"no execute permission":    {func(r *guestv1.StartRequest) { r.Argv = argv(plain) }, "COMMAND_NOT_EXECUTABLE"},
		"a directory":              {func(r *guestv1.StartRequest) { r.Argv = argv("/tmp") }, "COMMAND_NOT_EXECUTABLE"},
		"a missing interpreter":    {func(r *guestv1.StartRequest) { r.Argv = argv(noInterpreter) }, "COMMAND_NOT_EXECUTABLE"},
		"no program":               {func(r *guestv1.StartRequest) { r.Argv = argv(garbage) }, "COMMAND_NOT_EXECUTABLE"},
		"found in PATH, not executable": {func(r *guestv1.StartRequest) {
			r.Argv, r.Env = argv("plain"), argv("PATH=/nowhere:"+directory)
		}, "COMMAND_NOT_EXECUTABLE"},
		"a missing directory":    {func(r *guestv1.StartRequest) { r.Cwd = []byte("/no/such") }, "WORKING_DIRECTORY_NOT_FOUND"},
		"a file as directory":    {func(r *guestv1.StartRequest) { r.Cwd = []byte(plain) }, "WORKING_DIRECTORY_NOT_FOUND"},
		"a descriptor's link":    {func(r *guestv1.StartRequest) { r.Cwd = []byte("/proc/self/fd/0") }, "WORKING_DIRECTORY_NOT_FOUND"},
		"an argument too large":  {func(r *guestv1.StartRequest) { r.Argv = argv("true", strings.Repeat("x", 131072)) }, "ARGUMENT_TOO_LARGE"},
		"an entry too large":     {func(r *guestv1.StartRequest) { r.Env = argv("X=" + strings.Repeat("x", 131070)) }, "ARGUMENT_TOO_LARGE"},
		"arguments of 10 MB":     {func(r *guestv1.StartRequest) { r.Argv = many(80, 131071) }, "ARGUMENT_TOO_LARGE"},
		"arguments of 3 MB":      {func(r *guestv1.StartRequest) { r.Argv = many(30, 100000) }, "ARGUMENT_TOO_LARGE"},
		"too many small entries": {func(r *guestv1.StartRequest) { r.Argv = many(100001, 1) }, "ARGUMENT_TOO_LARGE"},
	} {
		request := shell("true")
		test.change(request)
		_, err := a.Start(context.Background(), request)
		if code := agenttest.CodeOf(err); code != test.code {
			t.Errorf("%s: %q (%v)", name, code, err)
		}
	}
	// None of them is remembered.
	list, err := a.List(context.Background(), &guestv1.ListRequest{})
	if err != nil || len(list.Processes) != 0 {
		t.Fatalf("%v %v", list, err)
	}
}

func many(count, size int) [][]byte {
	out := argv("true")
	text := bytes.Repeat([]byte("x"), size)
	for range count {
		out = append(out, text)
	}
	return out
}

func TestTheLargestArgumentPasses(t *testing.T) {
	a := newAgent(t)
	request := shell(`printf %s "$1" | wc -c`)
	request.Argv = append(request.Argv, []byte("sh"), bytes.Repeat([]byte("x"), 131071))
	if r := a.run(request); string(bytes.TrimSpace(r.stdout)) != "131071" {
		t.Fatalf("%q", r.stdout)
	}
}

func TestArgumentsAndOutputNeedNotBeText(t *testing.T) {
	a := newAgent(t)
	request := shell(`printf %s "$1"`)
	request.Argv = append(request.Argv, []byte("sh"), []byte("\xff\xfe\x80"))
	if r := a.run(request); string(r.stdout) != "\xff\xfe\x80" {
		t.Fatalf("%q", r.stdout)
	}
}

package process_test

import (
	"context"
	"testing"
	"time"
)

func TestACommandGivesItsOutputsAndItsExitCode(t *testing.T) {
	a := newAgent(t)
	r := a.run(shell("echo out; echo err >&2; exit 7"))
	if string(r.stdout) != "out\n" || string(r.stderr) != "err\n" || r.exit.Code != 7 || r.exit.Signal != "" {
		t.Fatalf("%q %q %v", r.stdout, r.stderr, r.exit)
	}
	if r.exit.StdoutBytes != 4 || r.exit.StderrBytes != 4 || r.exit.DurationUs == 0 {
		t.Fatalf("%v", r.exit)
	}
	select {
	case <-a.observer.exited:
	case <-time.After(10 * time.Second):
		t.Fatal("the end was not reported")
	}
}

func TestACommandRunsInOneExchange(t *testing.T) {
	a := newAgent(t)
	stream, err := a.Run(context.Background(), shell("echo out; exit 7"))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() || stream.Msg().GetStarted().GetPid() == 0 {
		t.Fatalf("it does not begin with the start: %v %v", stream.Msg(), stream.Err())
	}
	if !stream.Receive() || string(stream.Msg().GetChunk().GetData()) != "out\n" {
		t.Fatalf("%v %v", stream.Msg(), stream.Err())
	}
	if !stream.Receive() || stream.Msg().GetExit().GetCode() != 7 {
		t.Fatalf("%v %v", stream.Msg(), stream.Err())
	}
	if stream.Receive() || stream.Err() != nil {
		t.Fatalf("more after the exit: %v %v", stream.Msg(), stream.Err())
	}
}

func TestARunThatCannotStartSaysWhyAndOneThatIsLeftGoesOn(t *testing.T) {
	a := newAgent(t)
	missing := shell("")
	missing.Argv = [][]byte{[]byte("/no/such/command")}
	stream, err := a.Run(context.Background(), missing)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if stream.Receive() || stream.Err() == nil {
		t.Fatalf("%v %v", stream.Msg(), stream.Err())
	}
	request := shell("echo out; sleep 0.2; echo put")
	left, err := a.Run(context.Background(), request)
	if err != nil || !left.Receive() {
		t.Fatal(err)
	}
	_ = left.Close()
	if r := a.read(request.ProcessId); string(r.stdout) != "out\nput\n" || r.exit.Code != 0 {
		t.Fatalf("%q %v", r.stdout, r.exit)
	}
}

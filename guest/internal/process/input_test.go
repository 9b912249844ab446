package process_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
)

func (a agent) writeInput(id string, chunks ...string) (*guestv1.WriteInputResponse, error) {
	stream := a.WriteInput(context.Background())
	for i, chunk := range chunks {
		message := &guestv1.WriteInputRequest{Data: []byte(chunk), End: i == len(chunks)-1}
		if i == 0 {
			message.ProcessId = id
		}
		if err := stream.Send(message); err != nil {
			break
		}
	}
	response, err := stream.CloseAndReceive()
	if err != nil {
		return nil, err
	}
	return response, nil
}

func TestInputReachesTheCommandAndEnds(t *testing.T) {
	a := newAgent(t)
	request := shell("cat; echo end")
	request.OpenStdin = true
	id := a.start(request)
	response, err := a.writeInput(id, "hello ", "world\n")
	if err != nil || response.AcceptedBytes != 12 || response.ClosedByProcess {
		t.Fatalf("%v %v", response, err)
	}
	if r := a.read(id); string(r.stdout) != "hello world\nend\n" {
		t.Fatalf("%q", r.stdout)
	}
}

func TestInputCanBeLargerThanEveryBuffer(t *testing.T) {
	a := newAgent(t)
	request := shell("sleep 0.2; wc -c")
	request.OpenStdin = true
	id := a.start(request)
	chunks := make([]string, 64)
	for i := range chunks {
		chunks[i] = strings.Repeat("x", 256<<10)
	}
	response, err := a.writeInput(id, chunks...)
	if err != nil || response.AcceptedBytes != 16<<20 {
		t.Fatalf("%v %v", response, err)
	}
	if r := a.read(id); string(bytes.TrimSpace(r.stdout)) != "16777216" {
		t.Fatalf("%q", r.stdout)
	}
}

func TestACommandThatClosesItsInputIsSaid(t *testing.T) {
	a := newAgent(t)
	for _, script := range []string{"exec <&-; sleep 1000", "head -c 1 >/dev/null", "exit 0", "sleep 0.1"} {
		request := shell(script)
		request.OpenStdin = true
		id := a.start(request)
		chunks := make([]string, 64)
		for i := range chunks {
			chunks[i] = strings.Repeat("x", 64<<10)
		}
		response, err := a.writeInput(id, chunks...)
		if err != nil || !response.ClosedByProcess || response.AcceptedBytes >= 4<<20 {
			t.Errorf("%s: %v %v", script, response, err)
		}
		a.remove(id)
	}
}

func TestACommandWithoutInputReadsItsEnd(t *testing.T) {
	a := newAgent(t)
	id := a.start(shell("cat; echo end"))
	if r := a.read(id); string(r.stdout) != "end\n" {
		t.Fatalf("%q", r.stdout)
	}
	if _, err := a.writeInput(id, "x"); agenttest.CodeOf(err) != "INVALID_ARGUMENT" {
		t.Fatal(err)
	}
}

func TestAWriterThatWentAwayLeavesTheInputToTheNext(t *testing.T) {
	a := newAgent(t)
	request := shell("sleep 0.5; wc -c")
	request.OpenStdin = true
	id := a.start(request)
	ctx, cancel := context.WithCancel(context.Background())
	stream := a.WriteInput(ctx)
	_ = stream.Send(&guestv1.WriteInputRequest{ProcessId: id, Data: make([]byte, 1<<20)})
	cancel()
	_, _ = stream.CloseAndReceive()
	if response, err := a.writeInput(id, "tail"); err != nil || response.AcceptedBytes != 4 {
		t.Fatalf("%v %v", response, err)
	}
	if r := a.read(id); r.exit.Code != 0 {
		t.Fatalf("%v", r.exit)
	}
}

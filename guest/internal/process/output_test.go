package process_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/process"
)

func TestAReaderResumesByOffsetAndMissesNothing(t *testing.T) {
	a := newAgent(t)
	id := a.start(shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo done >&2"))
	var expected bytes.Buffer
	for i := range 20000 {
		fmt.Fprintf(&expected, "line %d\n", i)
	}
	var received []byte
	var exit *guestv1.ExitStatus
	for exit == nil {
		ctx, cancel := context.WithCancel(context.Background())
		stream, err := a.ReadOutput(ctx, &guestv1.ReadOutputRequest{ProcessId: id, StdoutOffset: uint64(len(received))})
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < 3 && stream.Receive(); n++ {
			if chunk := stream.Msg().GetChunk(); chunk.GetStream() == guestv1.OutputStream_OUTPUT_STREAM_STDOUT {
				if chunk.Offset != uint64(len(received)) {
					t.Fatalf("a gap at %d: %d", len(received), chunk.Offset)
				}
				received = append(received, chunk.Data...)
			}
			exit = stream.Msg().GetExit()
		}
		cancel()
		_ = stream.Close()
	}
	if !bytes.Equal(received, expected.Bytes()) {
		t.Fatalf("%d of %d bytes", len(received), expected.Len())
	}
}

func TestSeveralReadersEachGetEverything(t *testing.T) {
	a := newAgent(t)
	id := a.start(shell("sleep 0.2; head -c 3000000 /dev/zero"))
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			r, err := a.tryRead(context.Background(), id, 0, 0)
			if err != nil || len(r.stdout) != 3000000 || r.exit == nil {
				t.Errorf("%d bytes, %v, %v", len(r.stdout), r.exit, err)
			}
		})
	}
	readers.Wait()
}

func TestUnwatchedOutputIsDroppedAndCountedExactly(t *testing.T) {
	a := newAgent(t)
	request := shell("head -c 5000000 /dev/zero")
	request.OutputPolicy = guestv1.OutputPolicy_OUTPUT_POLICY_DROP_OLDEST
	request.SpoolBytes = 1 << 20
	id := a.start(request)
	eventually(t, func() bool {
		response, err := a.Get(context.Background(), &guestv1.GetRequest{ProcessId: id})
		return err == nil && !response.Process.Running
	})
	r := a.read(id)
	if r.exit.StdoutBytes != 5000000 || uint64(len(r.stdout))+r.exit.StdoutDroppedBytes != 5000000 || r.exit.StdoutDroppedBytes < 2<<20 {
		t.Fatalf("%d bytes read, %v", len(r.stdout), r.exit)
	}
}

func TestABlockedCommandWaitsForItsReader(t *testing.T) {
	a := newAgent(t)
	id := a.start(shell("head -c 20000000 /dev/zero"))
	eventually(t, func() bool {
		response, err := a.Get(context.Background(), &guestv1.GetRequest{ProcessId: id})
		return err == nil && response.Process.StdoutBytes > 3<<20
	})
	response, err := a.Get(context.Background(), &guestv1.GetRequest{ProcessId: id})
	if err != nil || !response.Process.Running || response.Process.StdoutBytes > 4<<20 {
		t.Fatalf("%v %v", response, err)
	}
	if r := a.read(id); len(r.stdout) != 20000000 || r.exit.StdoutDroppedBytes != 0 {
		t.Fatalf("%d bytes, %v", len(r.stdout), r.exit)
	}
}

func TestABlockedCommandCanBeRemoved(t *testing.T) {
	a := newAgent(t)
	id := a.start(shell("head -c 20000000 /dev/zero"))
	a.remove(id)
	if _, err := a.Get(context.Background(), &guestv1.GetRequest{ProcessId: id}); agenttest.CodeOf(err) != "PROCESS_NOT_FOUND" {
		t.Fatal(err)
	}
	a.remove(id)
}

func TestOutputPassesTheTransformBeforeTheSpool(t *testing.T) {
	a := newAgent(t, func(options *process.Options) {
		options.NewTransform = func(_ *guestv1.StartRequest, stream guestv1.OutputStream) process.Transform {
			if stream != guestv1.OutputStream_OUTPUT_STREAM_STDOUT {
				return nil
			}
			var held []byte
			return func(data []byte, end bool) []byte {
				held = append(held, data...)
				if !end {
					return nil
				}
				return bytes.ReplaceAll(held, []byte("secret"), []byte("[REDACTED]"))
			}
		}
	})
	r := a.run(shell("printf sec; sleep 0.1; echo ret; echo secret >&2"))
	if string(r.stdout) != "[REDACTED]\n" || string(r.stderr) != "secret\n" || r.exit.StdoutBytes != 11 {
		t.Fatalf("%q %q %v", r.stdout, r.stderr, r.exit)
	}
}

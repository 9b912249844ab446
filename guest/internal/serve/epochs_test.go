package serve_test

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"os"
	"testing"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/link"
	"pyro/guest/internal/serve"
)

// frame is one of proto/LINK.md.
func frame(kind, channel byte, epoch uint32, payload string) []byte {
	b := []byte{0x50, 0x59, 0xf1, 0x7e, 1, kind, channel, 0}
	b = binary.BigEndian.AppendUint32(b, epoch)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return append(b, payload...)
}

func TestTheAgentCallsTheHostOnTheNetworkChannelOfEachEpoch(t *testing.T) {
	near, far := net.Pipe()
	asked, ended := make(chan error, 2), make(chan error, 2)
	epochs := &serve.Epochs{Events: serve.NewEvents(), Log: guard.NewLog(os.Stderr), Connected: func() {}}
	epochs.Network = func(ctx context.Context, host *call.Peer) {
		asked <- host.Call(ctx, "a name", &guestv1.ResolveRequest{Name: "example.org"}, &guestv1.ResolveResponse{})
		<-ctx.Done()
		ended <- ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	l := link.New(near, func(session *link.Session) { epochs.Open(ctx, session) })
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	// What the agent says of itself is not asked for here.
	calls := make(chan string)
	go func() {
		defer close(calls)
		for {
			var header [link.HeaderBytes]byte
			if _, err := io.ReadFull(far, header[:]); err != nil {
				return
			}
			payload := make([]byte, binary.BigEndian.Uint32(header[12:]))
			if _, err := io.ReadFull(far, payload); err != nil {
				return
			}
			if header[6] == byte(link.Network) && payload[0] == 1 {
				calls <- string(payload[12:18])
			}
		}
	}()
	for epoch := uint32(5); epoch < 7; epoch++ {
		if _, err := far.Write(frame(1, 0, epoch, "")); err != nil {
			t.Fatal(err)
		}
		if name := <-calls; name != "a name" {
			t.Fatalf("%q", name)
		}
		// The answer to the first call of the channel: an empty message, the last.
		if _, err := far.Write(frame(2, byte(link.Network), epoch, "\x02\x02\x00\x00\x00\x00\x00\x01")); err != nil {
			t.Fatal(err)
		}
		if err := <-asked; err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; err != context.Canceled {
		t.Fatal("the old epoch goes on:", err)
	}
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Fatal(err)
	}
	epochs.Wait()
	_ = far.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

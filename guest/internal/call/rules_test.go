package call_test

import (
	"context"
	"encoding/binary"
	"os"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/link"
)

type sender func(frame []byte) error

func (s sender) Send(frame []byte) error { return s(frame) }

func deliver(peer *call.Peer, packet []byte) error { return peer.Deliver(link.NewPacket(packet)) }

func data(m *guestv1.WriteRequest) *[]byte { return &m.Data }

func packet(kind, flags byte, id uint32, body ...byte) []byte {
	p := []byte{kind, flags, 0, 0}
	return append(binary.BigEndian.AppendUint32(p, id), body...)
}

// callPacket is a CALL without a deadline; flags 6 brings an empty message, the only one.
func callPacket(id uint32, flags byte, name string) []byte {
	p := packet(1, flags, id, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(p[2:], uint16(len(name)))
	return append(p, name...)
}

func TestAPacketThatBreaksARuleEndsTheEpoch(t *testing.T) {
	for name, packets := range map[string][][]byte{
		"too short":                    {{2, 0, 0}},
		"kind 0":                       {packet(0, 0, 1)},
		"kind 6":                       {packet(6, 0, 1)},
		"unknown flags":                {packet(2, 8, 1)},
		"a message with a call's flag": {packet(2, 4, 1)},
		"more after the last":          {packet(2, 3, 1)},
		"a name where none is":         {{2, 0, 0, 1, 0, 0, 0, 1}},
		"a call cut off":               {packet(1, 6, 1, 0, 0)},
		"a name longer than the call":  {{1, 6, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 'x'}},
		"a call with bytes of nothing": {append(callPacket(1, 0, "wait"), 1)},
		"a cancel with bytes":          {packet(5, 0, 1, 1)},
		"credit without a count":       {packet(4, 0, 1)},
		"no credit":                    {packet(4, 0, 1, 0, 0, 0, 0)},
		"a caller's end with bytes":    {callPacket(1, 0, "wait"), packet(3, 0, 1, 1)},
		"an id twice":                  {callPacket(1, 0, "wait"), callPacket(1, 0, "wait")},
		"more than the credit":         append([][]byte{callPacket(1, 0, "wait")}, repeat(packet(2, 0, 1, make([]byte, 60_000)...), 19)...),
		"a part beyond the credit":     append([][]byte{callPacket(1, 0, "wait")}, repeat(packet(2, 1, 1, make([]byte, 60_000)...), 19)...),
	} {
		t.Run(name, func(t *testing.T) {
			wait := func(ctx context.Context, _ call.Receives[*guestv1.WriteRequest]) (*guestv1.WriteResponse, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			peer := call.NewPeer(t.Context(), sender(func([]byte) error { return nil }), call.Methods{"wait": call.ClientStream(wait, 3, data)}, guard.NewLog(os.Stderr))
			defer peer.Close()
			for _, p := range packets[:len(packets)-1] {
				if err := deliver(peer, p); err != nil {
					t.Fatal(err)
				}
			}
			if err := deliver(peer, packets[len(packets)-1]); err == nil {
				t.Fatal("it was taken")
			}
		})
	}
}

func TestAGatewaySendsAheadOnlyWhatAConnectionMayHold(t *testing.T) {
	for _, its := range []struct{ bytes, most, taken, credit int }{
		{bytes: 0, most: 1024, taken: 512, credit: 512 * 256},
		{bytes: 50_000, most: 6, taken: 3, credit: 150_000},
	} {
		credit := 0
		peer := call.NewGatewayCaller(t.Context(), sender(func(frame []byte) error {
			if frame[link.HeaderBytes] == 4 {
				credit += int(binary.BigEndian.Uint32(frame[link.HeaderBytes+8:]))
			}
			return nil
		}), guard.NewLog(os.Stderr))
		t.Cleanup(peer.Close)
		duplex, err := call.OpenDuplex(t.Context(), peer, "connect", &guestv1.ConnectRequest{}, 2, responseData)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(duplex.Leave)
		var message []byte
		if its.bytes > 0 {
			// Of the field 2; its tag and length take four bytes.
			message = protowire.AppendBytes([]byte{2<<3 | 2}, make([]byte, its.bytes-4))
		}
		for range its.most {
			if err := deliver(peer, packet(2, 0, 1, message...)); err != nil {
				t.Fatal(its, err)
			}
		}
		for range its.taken - 1 {
			duplex.Receive()
		}
		if credit != 0 || !duplex.Receive() || credit != its.credit {
			t.Fatalf("%+v: credit of %d, %v", its, credit, duplex.Err())
		}
		for range its.credit / max(its.bytes, 256) {
			if err := deliver(peer, packet(2, 0, 1, message...)); err != nil {
				t.Fatal(its, err)
			}
		}
		if err := deliver(peer, packet(2, 0, 1, message...)); err == nil {
			t.Fatalf("%+v: one more was taken", its)
		}
	}
}

func repeat(packet []byte, n int) (out [][]byte) {
	for range n {
		out = append(out, packet)
	}
	return out
}

func TestWhatComesForACallThatIsOverIsDropped(t *testing.T) {
	peer := call.NewPeer(t.Context(), sender(func([]byte) error { return nil }), call.Methods{}, guard.NewLog(os.Stderr))
	defer peer.Close()
	for _, p := range [][]byte{packet(2, 0, 7, 1), packet(3, 0, 7), packet(4, 0, 7, 0, 0, 0, 1), packet(5, 0, 7)} {
		if err := deliver(peer, p); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzDeliver(f *testing.F) {
	f.Add(callPacket(1, 6, "wait"))
	f.Add(packet(2, 1, 1, 1, 2, 3))
	f.Fuzz(func(t *testing.T, raw []byte) {
		peer := call.NewPeer(t.Context(), sender(func([]byte) error { return nil }), call.Methods{"wait": call.Unary(answer)}, guard.NewLog(os.Stderr))
		defer peer.Close()
		_ = deliver(peer, callPacket(1, 0, "wait"))
		_ = deliver(peer, raw)
	})
}

func TestEachMessageOfTheWireIsRehearsed(t *testing.T) {
	if err := call.Rehearse(guestv1.File_pyro_guest_v1_guest_proto); err != nil {
		t.Fatal(err)
	}
}

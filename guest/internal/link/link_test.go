package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// host is the other end of the port, as raw as a test needs it.
type host struct {
	t    *testing.T
	conn net.Conn
	in   []byte
}

func (h *host) write(parts ...[]byte) {
	h.t.Helper()
	if _, err := h.conn.Write(bytes.Join(parts, nil)); err != nil {
		h.t.Fatal(err)
	}
}

// next reads the next frame.
func (h *host) next() (header, []byte) {
	h.t.Helper()
	buffer := make([]byte, 64*1024)
	for {
		skip, found, ok := scan(h.in)
		h.in = h.in[skip:]
		if whole := HeaderBytes + int(found.length); ok && len(h.in) >= whole {
			payload := bytes.Clone(h.in[HeaderBytes:whole])
			h.in = h.in[whole:]
			return found, payload
		}
		n, err := h.conn.Read(buffer)
		if err != nil {
			h.t.Fatal(err)
		}
		h.in = append(h.in, buffer[:n]...)
	}
}

func (h *host) hello(epoch uint32) {
	h.t.Helper()
	h.write(make([]byte, FillerBytes), frame(header{kind: typeHello, epoch: epoch}, nil))
	for {
		if found, _ := h.next(); found.kind == typeHello && found.epoch == epoch {
			return
		}
	}
}

func data(channel Channel, epoch uint32, payload string) []byte {
	return frame(header{kind: typeData, channel: channel, epoch: epoch}, []byte(payload))
}

func start(t *testing.T) (*Link, *host) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "port.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	port, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	l := New(port)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		_ = conn.Close()
		if err := <-done; err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
	return l, &host{t: t, conn: conn}
}

func accept(t *testing.T, l *Link) *Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	session, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func readText(t *testing.T, from io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(from, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestChannelsCarryBytesBothWays(t *testing.T) {
	l, h := start(t)
	h.hello(5)
	session := accept(t, l)
	if session.Epoch() != 5 {
		t.Fatalf("epoch %d", session.Epoch())
	}
	h.write(data(Control, 5, "con"), data(Bulk, 5, "bulk"), data(Control, 5, "trol"), data(Event, 5, "event"))
	if got := readText(t, session.Control(), 7); got != "control" {
		t.Fatal(got)
	}
	if got := readText(t, session.Bulk(), 4) + readText(t, session.Event(), 5); got != "bulkevent" {
		t.Fatal(got)
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	go func() { _, _ = session.Bulk().Write(large) }()
	var got []byte
	for len(got) < len(large) {
		found, payload := h.next()
		if found.channel != Bulk || found.epoch != 5 {
			t.Fatalf("unexpected frame %+v", found)
		}
		got = append(got, payload...)
	}
	if !bytes.Equal(got, large) {
		t.Fatal("the bytes differ")
	}
	if counters := l.Counters(); counters.SkippedBytes != FillerBytes || counters.DroppedFrames != 0 {
		t.Fatalf("%+v", counters)
	}
}

func TestANewEpochEndsTheOldOne(t *testing.T) {
	l, h := start(t)
	h.hello(5)
	old := accept(t, l)
	// A half frame of the old epoch: the filler completes it.
	h.write(data(Control, 5, "stale bytes that nobody reads")[:30])
	h.hello(6)
	session := accept(t, l)
	<-old.Done()
	if _, err := old.Control().Write([]byte("late")); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("write in the old epoch: %v", err)
	}
	if n, err := old.Control().Read(make([]byte, 9)); n != 0 || err != io.EOF {
		t.Fatalf("read in the old epoch: %d, %v", n, err)
	}
	h.write(data(Control, 5, "stale"), data(Control, 6, "fresh"))
	if got := readText(t, session.Control(), 5); got != "fresh" {
		t.Fatal(got)
	}
	if l.Counters().DroppedFrames != 1 {
		t.Fatalf("%+v", l.Counters())
	}
	h.write(frame(header{kind: typeHello, epoch: 6}, nil))
	if found, _ := h.next(); found.kind != typeHello || found.epoch != 6 {
		t.Fatalf("a repeated HELLO got %+v", found)
	}
	select {
	case <-session.Done():
		t.Fatal("a repeated HELLO ended the session")
	default:
	}
}

// gate is a port whose writes can be held back, as those of an absent host are.
type gate struct {
	net.Conn
	mu sync.Mutex
}

func (g *gate) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.Conn.Write(b)
}

func gated(t *testing.T) (*Link, *host, *gate) {
	t.Helper()
	near, far := net.Pipe()
	g := &gate{Conn: near}
	l := New(g)
	done := make(chan struct{})
	go func() { defer close(done); _ = l.Run(t.Context()) }()
	t.Cleanup(func() { _ = far.Close(); <-done })
	return l, &host{t: t, conn: far}, g
}

func TestAStuckWriteDoesNotHoldUpANewEpoch(t *testing.T) {
	l, h, g := gated(t)
	h.hello(5)
	old := accept(t, l)
	g.mu.Lock()
	writes := make(chan error, 3)
	for _, stream := range []net.Conn{old.Bulk(), old.Control(), old.Event()} {
		go func() { _, err := stream.Write(make([]byte, 200_000)); writes <- err }()
	}
	h.write(make([]byte, FillerBytes), frame(header{kind: typeHello, epoch: 6}, nil))
	session := accept(t, l)
	<-old.Done()
	g.mu.Unlock()
	for {
		found, _ := h.next()
		if found.kind == typeHello {
			break
		}
	}
	for range 3 {
		if err := <-writes; !errors.Is(err, net.ErrClosed) {
			t.Fatalf("a write of the old epoch: %v", err)
		}
	}
	go func() { _, _ = session.Control().Write([]byte("fresh")) }()
	if found, payload := h.next(); found.epoch != 6 || string(payload) != "fresh" {
		t.Fatalf("after HELLO came %+v", found)
	}
}

func TestControlGoesBeforeWaitingBulk(t *testing.T) {
	l, h, g := gated(t)
	h.hello(5)
	session := accept(t, l)
	g.mu.Lock()
	go func() { _, _ = session.Bulk().Write(make([]byte, 10*MaxPayloadBytes)) }()
	go func() { _ = l.FloodProbe(t.Context(), 10*MaxPayloadBytes) }()
	waiting := func() (n int) {
		l.sender.mu.Lock()
		defer l.sender.mu.Unlock()
		for _, queue := range l.sender.waiting {
			n += len(queue)
		}
		return n
	}
	for waiting() < 1 {
		time.Sleep(time.Millisecond)
	}
	go func() { _, _ = session.Control().Write([]byte("urgent")) }()
	for waiting() < 2 {
		time.Sleep(time.Millisecond)
	}
	g.mu.Unlock()
	first, _ := h.next()
	second, _ := h.next()
	if second.channel != Control {
		t.Fatalf("control came after %d, %d", first.channel, second.channel)
	}
}

func TestAChannelThatNobodyReadsIsBounded(t *testing.T) {
	l, h := start(t)
	h.hello(5)
	session := accept(t, l)
	flood := frame(header{kind: typeData, channel: Bulk, epoch: 5}, make([]byte, MaxPayloadBytes))
	for range MaxUnreadBytes/MaxPayloadBytes + 1 {
		h.write(flood)
	}
	<-session.Done()
	h.hello(6)
	if accept(t, l).Epoch() != 6 {
		t.Fatal("the link did not go on")
	}
}

func TestOnlyTheNewestSessionIsAccepted(t *testing.T) {
	l, h := start(t)
	h.hello(5)
	h.hello(6)
	if epoch := accept(t, l).Epoch(); epoch != 6 {
		t.Fatal(epoch)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Accept(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestTheProbeChannelIsCounted(t *testing.T) {
	l, h := start(t)
	if err := l.FloodProbe(t.Context(), 1); err == nil {
		t.Fatal("a flood without a host")
	}
	h.hello(5)
	accept(t, l)
	h.write(data(Probe, 5, "12345"))
	if n, err := l.DrainProbe(t.Context(), 5); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	go func() { h.write(data(Probe, 5, "12345"), data(Probe, 5, "678")) }()
	if n, err := l.DrainProbe(t.Context(), 8); n != 8 || err != nil {
		t.Fatal(n, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := l.DrainProbe(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	go func() { _ = l.FloodProbe(t.Context(), MaxPayloadBytes+1) }()
	first, _ := h.next()
	second, _ := h.next()
	if first.channel != Probe || first.length != MaxPayloadBytes || second.length != 1 {
		t.Fatalf("%+v %+v", first, second)
	}
}

func TestTheEndOfThePortEndsAll(t *testing.T) {
	l, h := start(t)
	h.hello(5)
	session := accept(t, l)
	_ = h.conn.Close()
	<-session.Done()
	if _, err := session.Control().Write(make([]byte, 100)); err == nil {
		t.Fatal("a write after the end")
	}
	if name := session.Control().LocalAddr().String(); name != "control" {
		t.Fatal(name)
	}
}

func TestThePortIsFoundByItsName(t *testing.T) {
	class := t.TempDir()
	if err := os.Mkdir(filepath.Join(class, "vport2p1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(class, "vport2p1", "name"), []byte("dev.pyro.agent\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if path, err := findPort(class, "dev.pyro.agent"); path != "/dev/vport2p1" || err != nil {
		t.Fatal(path, err)
	}
	if _, err := findPort(class, "other"); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := OpenPort(ctx, "no.such.port"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

func BenchmarkStreamWrite(b *testing.B) {
	near, far := net.Pipe()
	l := New(near)
	go func() { _ = l.Run(b.Context()) }()
	go func() { _, _ = io.Copy(io.Discard, far) }()
	_, _ = far.Write(frame(header{kind: typeHello, epoch: 5}, nil))
	session, err := l.Accept(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, MaxPayloadBytes)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = session.Bulk().Write(p)
	}
	_ = far.Close()
}

package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
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

// opened are the sessions as the link opened them; the text of what arrives on them comes by their channels.
type opened struct {
	sessions chan *Session
	mu       sync.Mutex
	texts    map[*Session]*[channelCount]chan string
}

var errRefused = errors.New("refused")

func newOpened() *opened {
	return &opened{sessions: make(chan *Session, 8), texts: make(map[*Session]*[channelCount]chan string)}
}

func (o *opened) open(session *Session) {
	texts := new([channelCount]chan string)
	for channel := range texts {
		texts[channel] = make(chan string, 64)
		session.OnPacket(Channel(channel), func(p Packet) error {
			if string(p.Bytes) == "break a rule" {
				return errRefused
			}
			texts[channel] <- string(p.Bytes)
			return nil
		})
	}
	o.mu.Lock()
	o.texts[session] = texts
	o.mu.Unlock()
	o.sessions <- session
}

func (o *opened) text(session *Session, channel Channel) string {
	o.mu.Lock()
	texts := o.texts[session]
	o.mu.Unlock()
	select {
	case text := <-texts[channel]:
		return text
	case <-time.After(10 * time.Second):
		return "nothing came"
	}
}

func start(t *testing.T) (*Link, *host, *opened) {
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
	o := newOpened()
	l := New(port, o.open)
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
	return l, &host{t: t, conn: conn}, o
}

func (o *opened) accept(t *testing.T) *Session {
	t.Helper()
	select {
	case session := <-o.sessions:
		return session
	case <-time.After(10 * time.Second):
		t.Fatal("no session")
		return nil
	}
}

// packet is a frame with room for its header.
func packetOf(payload []byte) []byte { return append(make([]byte, HeaderBytes), payload...) }

func TestChannelsCarryPacketsBothWays(t *testing.T) {
	l, h, o := start(t)
	h.hello(5)
	session := o.accept(t)
	if session.Epoch() != 5 {
		t.Fatalf("epoch %d", session.Epoch())
	}
	large := strings.Repeat("0123456789abcdef", MaxPayloadBytes/16)
	for range 9 {
		h.write(data(Control, 5, "con"), data(Bulk, 5, large), data(Control, 5, "trol"), data(Event, 5, "event"))
		if got := o.text(session, Control) + o.text(session, Control); got != "control" {
			t.Fatal(got)
		}
		if o.text(session, Bulk) != large || o.text(session, Event) != "event" {
			t.Fatal("the bytes differ")
		}
	}
	go func() { _ = session.Sender(Bulk).Send(packetOf([]byte(large))) }()
	if found, payload := h.next(); found.channel != Bulk || found.epoch != 5 || string(payload) != large {
		t.Fatalf("unexpected frame %+v", found)
	}
	if counters := l.Counters(); counters.SkippedBytes != FillerBytes || counters.DroppedFrames != 0 {
		t.Fatalf("%+v", counters)
	}
}

func TestWhatASessionSendsAtOnceArrives(t *testing.T) {
	near, far := net.Pipe()
	l := New(near, func(session *Session) {
		sent := make(chan error)
		go func() {
			runtime.Gosched()
			err := session.Sender(Event).Send(packetOf([]byte("ready")))
			if err != nil {
				t.Errorf("epoch %d: %v", session.Epoch(), err)
			}
			close(sent)
		}()
		// The worst case: what was started runs before the session is opened.
		select {
		case <-sent:
		case <-time.After(time.Millisecond):
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	h := &host{t: t, conn: far}
	for epoch := uint32(1); epoch < 20; epoch++ {
		h.hello(epoch)
		if found, payload := h.next(); found.channel != Event || found.epoch != epoch || string(payload) != "ready" {
			t.Fatalf("unexpected frame %+v", found)
		}
	}
	cancel()
	<-done
}

func TestAPacketThatIsHeldStaysAsItIs(t *testing.T) {
	near, far := net.Pipe()
	held := make(chan Packet, 1000)
	l := New(near, func(session *Session) {
		session.OnPacket(Bulk, func(p Packet) error {
			p.Hold()
			held <- p
			return nil
		})
	})
	done := make(chan struct{})
	go func() { defer close(done); _ = l.Run(t.Context()) }()
	h := &host{t: t, conn: far}
	h.hello(5)
	for i := range 100 {
		h.write(data(Bulk, 5, strings.Repeat(string(rune('a'+i%26)), 5_000+i)))
	}
	for i := range 100 {
		p := <-held
		if string(p.Bytes) != strings.Repeat(string(rune('a'+i%26)), 5_000+i) {
			t.Fatalf("packet %d changed", i)
		}
		p.Release()
	}
	_ = far.Close()
	<-done
}

func TestANewEpochEndsTheOldOne(t *testing.T) {
	l, h, o := start(t)
	h.hello(5)
	old := o.accept(t)
	// A half frame of the old epoch: the filler completes it.
	h.write(data(Control, 5, "stale bytes that nobody reads")[:30])
	h.hello(6)
	session := o.accept(t)
	<-old.Done()
	if err := old.Sender(Control).Send(packetOf([]byte("late"))); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("a packet in the old epoch: %v", err)
	}
	h.write(data(Control, 5, "stale"), data(Control, 6, "fresh"))
	if got := o.text(session, Control); got != "fresh" {
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

func gated(t *testing.T) (*Link, *host, *gate, *opened) {
	t.Helper()
	near, far := net.Pipe()
	g := &gate{Conn: near}
	o := newOpened()
	l := New(g, o.open)
	done := make(chan struct{})
	go func() { defer close(done); _ = l.Run(t.Context()) }()
	t.Cleanup(func() { _ = far.Close(); <-done })
	return l, &host{t: t, conn: far}, g, o
}

func TestAStuckWriteDoesNotHoldUpANewEpoch(t *testing.T) {
	_, h, g, o := gated(t)
	h.hello(5)
	old := o.accept(t)
	g.mu.Lock()
	writes := make(chan error, 3)
	for _, channel := range []Channel{Bulk, Control, Event} {
		go func() {
			var err error
			for err == nil {
				err = old.Sender(channel).Send(packetOf(make([]byte, 60_000)))
			}
			writes <- err
		}()
	}
	h.write(make([]byte, FillerBytes), frame(header{kind: typeHello, epoch: 6}, nil))
	session := o.accept(t)
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
	go func() { _ = session.Sender(Control).Send(packetOf([]byte("fresh"))) }()
	if found, payload := h.next(); found.epoch != 6 || string(payload) != "fresh" {
		t.Fatalf("after HELLO came %+v", found)
	}
}

func TestControlGoesBeforeWaitingBulk(t *testing.T) {
	l, h, g, o := gated(t)
	h.hello(5)
	session := o.accept(t)
	g.mu.Lock()
	go func() {
		for range 10 {
			_ = session.Sender(Bulk).Send(packetOf(make([]byte, MaxPayloadBytes)))
		}
	}()
	go func() { _ = l.FloodProbe(t.Context(), 10*MaxPayloadBytes) }()
	waiting := func() (n int) {
		l.turns.mu.Lock()
		defer l.turns.mu.Unlock()
		for _, queue := range l.turns.waiting {
			n += len(queue)
		}
		return n
	}
	for waiting() < 1 {
		time.Sleep(time.Millisecond)
	}
	go func() { _ = session.Sender(Control).Send(packetOf([]byte("urgent"))) }()
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

func TestBulkAndNetworkTakeTurnsBeforeProbe(t *testing.T) {
	l, h, g, o := gated(t)
	h.hello(5)
	session := o.accept(t)
	g.mu.Lock()
	// Several senders of each, so that each channel always has one that waits, and control ones in between.
	count := map[Channel]int{Control: 3, Bulk: 4, Network: 4, Probe: 2}
	var sending sync.WaitGroup
	for channel, n := range count {
		for range n {
			sender := newSender(session, channel)
			sending.Go(func() { _ = sender.Send(packetOf([]byte("packet"))) })
		}
	}
	waiting := func() (n int) {
		l.turns.mu.Lock()
		defer l.turns.mu.Unlock()
		for _, queue := range l.turns.waiting {
			n += len(queue)
		}
		return n
	}
	for waiting() < 12 {
		time.Sleep(time.Millisecond)
	}
	g.mu.Unlock()
	var order []Channel
	for range 13 {
		found, _ := h.next()
		order = append(order, found.channel)
	}
	sending.Wait()
	// The first had the port when nobody else was there.
	var shared []Channel
	for at, channel := range order[1:] {
		switch {
		case channel == Control && at >= count[Control], channel == Probe && at < len(order)-1-count[Probe]:
			t.Fatalf("channel %d is out of order: %v", channel, order)
		case channel == Bulk || channel == Network:
			shared = append(shared, channel)
		}
	}
	for at := 1; at < len(shared); at++ {
		if shared[at] == shared[at-1] {
			t.Fatalf("bulk and network do not take turns: %v", order)
		}
	}
}

func TestAHostThatBreaksARuleLosesItsEpoch(t *testing.T) {
	_, h, o := start(t)
	h.hello(5)
	session := o.accept(t)
	h.write(data(Bulk, 5, "break a rule"))
	<-session.Done()
	h.hello(6)
	if o.accept(t).Epoch() != 6 {
		t.Fatal("the link did not go on")
	}
}

func TestTheProbeChannelIsCounted(t *testing.T) {
	l, h, o := start(t)
	if err := l.FloodProbe(t.Context(), 1); err == nil {
		t.Fatal("a flood without a host")
	}
	h.hello(5)
	o.accept(t)
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
	_, h, o := start(t)
	h.hello(5)
	session := o.accept(t)
	_ = h.conn.Close()
	<-session.Done()
	if err := session.Sender(Control).Send(packetOf(make([]byte, 100))); err == nil {
		t.Fatal("a write after the end")
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

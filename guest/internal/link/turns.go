package link

import (
	"io"
	"net"
	"slices"
	"sync"
)

// turns gives out the port's write side, one frame at a time, to the first of the waiting channels: control, event, bulk
// and network in turn, probe. Writers write in their own goroutine: no queue of ours lies below a channel, so nothing that was
// accepted from a bulk writer can stand before a control frame, except the one frame being written. What the kernel
// and QEMU hold below that is bounded by the credit of calls (package call).
type turns struct {
	port io.Writer

	mu      sync.Mutex
	busy    bool
	epoch   uint32
	broken  error
	waiting [channelCount][]*Sender
	// Which of bulk and network had its turn last: the other goes before it.
	hadTurn Channel
	// An answer to HELLO goes before everything else.
	helloDue   bool
	helloReady chan struct{}
}

func newTurns(port io.Writer) *turns {
	return &turns{port: port, hadTurn: Network, helloReady: make(chan struct{}, 1)}
}

// begin makes epoch the current one and asks for its HELLO; older streams send nothing from here on.
func (t *turns) begin(epoch uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.epoch = epoch
	t.helloDue = true
	if !t.busy {
		t.busy = true
		t.wakeHello()
	}
}

func (t *turns) wakeHello() {
	select {
	case t.helloReady <- struct{}{}:
	default:
	}
}

// serveHello answers HELLO whenever that is due; it runs until stop is closed.
func (t *turns) serveHello(stop <-chan struct{}) {
	var frame [HeaderBytes]byte
	for {
		select {
		case <-stop:
			return
		case <-t.helloReady:
		}
		t.mu.Lock()
		t.helloDue = false
		epoch := t.epoch
		t.mu.Unlock()
		header{kind: typeHello, epoch: epoch}.put(frame[:])
		_, err := t.port.Write(frame[:])
		t.release(err)
	}
}

// send writes one frame, whose first HeaderBytes are free.
func (t *turns) send(sender *Sender, frame []byte) error {
	header{typeData, sender.channel, sender.session.epoch, uint32(len(frame) - HeaderBytes)}.put(frame)
	if err := t.acquire(sender); err != nil {
		return err
	}
	_, err := t.port.Write(frame)
	t.release(err)
	return err
}

// flood sends n zero bytes on the sender's channel: the floor that benchmarks compare with.
func (t *turns) flood(sender *Sender, n uint64) error {
	frame := make([]byte, HeaderBytes+MaxPayloadBytes)
	for n > 0 {
		length := min(n, MaxPayloadBytes)
		if err := t.send(sender, frame[:HeaderBytes+length]); err != nil {
			return err
		}
		n -= length
	}
	return nil
}

// usable tells, with t.mu held, whether the sender may send.
func (t *turns) usable(sender *Sender) error {
	switch {
	case t.broken != nil:
		return t.broken
	case sender.cancelled || sender.session.epoch != t.epoch:
		return net.ErrClosed
	default:
		return nil
	}
}

// acquire waits for the sender's turn. A sender whose epoch is over gets net.ErrClosed.
func (t *turns) acquire(sender *Sender) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(sender); err != nil || !t.busy {
		if err == nil {
			t.busy = true
			t.note(sender.channel)
		}
		return err
	}
	t.waiting[sender.channel] = append(t.waiting[sender.channel], sender)
	t.mu.Unlock()
	granted := <-sender.turn
	t.mu.Lock()
	err := t.usable(sender)
	if err != nil && granted {
		t.pass()
	}
	return err
}

// release ends a turn; err is what the port said.
func (t *turns) release(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil && t.broken == nil {
		t.broken = err
	}
	t.pass()
}

// pass gives the turn, with t.mu held, to the first who waits.
func (t *turns) pass() {
	if t.helloDue && t.broken == nil {
		t.wakeHello()
		return
	}
	for _, channel := range t.order() {
		if queue := t.waiting[channel]; len(queue) > 0 {
			next := queue[0]
			t.waiting[channel] = slices.Delete(queue, 0, 1)
			t.note(channel)
			next.turn <- true
			return
		}
	}
	t.busy = false
}

// order is that of the channels, with t.mu held.
func (t *turns) order() [channelCount]Channel {
	if t.hadTurn == Bulk {
		return [...]Channel{Control, Event, Network, Bulk, Probe}
	}
	return [...]Channel{Control, Event, Bulk, Network, Probe}
}

// note remembers, with t.mu held, whose turn it is.
func (t *turns) note(channel Channel) {
	if channel == Bulk || channel == Network {
		t.hadTurn = channel
	}
}

// cancel ends the sender's right to send, and its wait for a turn. A frame that is being written is written.
func (t *turns) cancel(sender *Sender) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sender.cancelled = true
	queue := t.waiting[sender.channel]
	if at := slices.Index(queue, sender); at >= 0 {
		t.waiting[sender.channel] = slices.Delete(queue, at, at+1)
		sender.turn <- false
	}
}

// shut ends all waits: nothing more can be sent on this port.
func (t *turns) shut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken == nil {
		t.broken = net.ErrClosed
	}
	for channel, queue := range t.waiting {
		for _, sender := range queue {
			sender.turn <- false
		}
		t.waiting[channel] = nil
	}
}

package call

import (
	"errors"
	"io"
	"sync"

	"pyro/guest/internal/link"
)

var (
	errTooLong = errors.New("a message is longer than 16 MiB")
	errUnpaid  = errors.New("a call holds more than it gave credit for")
)

// Smaller messages are copied, so that none of them keeps a whole buffer of the link.
const holdFromBytes = 2 << 10

// message is one that arrived whole; paid is what it cost of the credit.
type message struct {
	packet link.Packet
	paid   int
}

// inbox is what a call received and nobody has taken yet.
type inbox struct {
	window window
	mu     sync.Mutex
	// Has room for one: there is something new.
	changed chan struct{}
	whole   []message
	part    []byte
	// What the part cost, and no credit was given for yet.
	partPaid int
	// What may still come.
	credit int
	// Taken, and not given credit for yet.
	owed int
	// The peer sends no more: io.EOF, or why.
	ended error
	// Nobody reads any more.
	closed bool
}

func newInbox(w window) inbox {
	return inbox{window: w, changed: make(chan struct{}, 1), credit: w.bytes}
}

func (b *inbox) wake() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// add takes bytes of a message; paid tells that they count against the credit. An error is a broken rule.
func (b *inbox) add(bytes link.Packet, flags byte, paid bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.ended != nil {
		return nil
	}
	cost := 0
	if paid {
		if b.credit <= 0 {
			return errUnpaid
		}
		cost = b.window.cost(len(bytes.Bytes))
		b.credit -= cost
	}
	if b.part == nil && flags&flagMore == 0 {
		b.whole = append(b.whole, message{kept(bytes), cost})
	} else {
		if len(b.part)+len(bytes.Bytes) > maxMessageBytes {
			return errTooLong
		}
		b.part = append(b.part, bytes.Bytes...)
		b.partPaid += cost
		if flags&flagMore == 0 {
			b.whole = append(b.whole, message{link.NewPacket(b.part), b.partPaid})
			b.part, b.partPaid = nil, 0
		}
	}
	if flags&flagLast != 0 {
		b.ended = io.EOF
	}
	b.wake()
	return nil
}

func kept(bytes link.Packet) link.Packet {
	if len(bytes.Bytes) < holdFromBytes {
		return link.NewPacket(append([]byte(nil), bytes.Bytes...))
	}
	bytes.Hold()
	return bytes
}

// end says that the peer sends no more.
func (b *inbox) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended == nil {
		b.ended = err
	}
	b.wake()
}

// close drops what is there.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, m := range b.whole {
		m.packet.Release()
	}
	b.whole, b.part = nil, nil
}

// take gives the next message, if there is one, and the credit that is due; ended once there will be no other.
func (b *inbox) take() (next link.Packet, ok bool, due int, ended error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.whole) > 0 {
		next, ok = b.whole[0].packet, true
		b.owed += b.whole[0].paid
		b.whole[0] = message{}
		if b.whole = b.whole[1:]; len(b.whole) == 0 {
			b.whole = nil
		}
	} else {
		// The next to be taken: it could not become whole without credit for what is there.
		b.owed += b.partPaid
		b.partPaid = 0
	}
	if b.ended != nil {
		if !ok {
			ended = b.ended
		}
		return next, ok, 0, ended
	}
	if b.owed >= b.window.bytes/2 {
		due, b.owed = b.owed, 0
		b.credit += due
	}
	return next, ok, due, nil
}

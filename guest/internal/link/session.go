package link

import "sync"

// Receiver takes the packets of one channel, in the reader's goroutine: it must not wait, and above all not send. An
// error of it ends the epoch: the peer broke a rule, and the next HELLO is a new chance.
type Receiver func(Packet) error

// Session is one epoch: the time between two connections of the host.
type Session struct {
	link    *Link
	epoch   uint32
	senders [channelCount]*Sender
	// Set before the first packet is read.
	receivers [channelCount]Receiver
	done      chan struct{}
	ended     sync.Once
}

func newSession(link *Link, epoch uint32) *Session {
	s := &Session{link: link, epoch: epoch, done: make(chan struct{})}
	for channel := range s.senders {
		s.senders[channel] = newSender(s, Channel(channel))
	}
	return s
}

// Epoch is the number that the host chose for this connection.
func (s *Session) Epoch() uint32 { return s.epoch }

// Sender sends on a channel of this epoch.
func (s *Session) Sender(channel Channel) *Sender { return s.senders[channel] }

// OnPacket sets who takes the packets of a channel; without one they are dropped. Call it in the function that was
// given to New, and nowhere else.
func (s *Session) OnPacket(channel Channel, receive Receiver) { s.receivers[channel] = receive }

// Done is closed when the epoch is over: the host came back with another, broke a rule, or the port is gone.
func (s *Session) Done() <-chan struct{} { return s.done }

func (s *Session) end() {
	s.ended.Do(func() {
		close(s.done)
		for _, sender := range s.senders {
			s.link.turns.cancel(sender)
		}
	})
}

// Sender is the sending side of one channel of one session.
type Sender struct {
	session *Session
	channel Channel

	// Serialises the channel's writers; the turn is taken per frame, below it.
	writing sync.Mutex
	turn    chan bool
	// Guarded by the lock of turns.
	cancelled bool
}

func newSender(session *Session, channel Channel) *Sender {
	return &Sender{session: session, channel: channel, turn: make(chan bool, 1)}
}

// Send sends one frame when it is the channel's turn, and returns when the port has taken it. The first HeaderBytes of
// frame are the link's to fill; the rest, at most MaxPayloadBytes, is the packet.
func (s *Sender) Send(frame []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.session.link.turns.send(s, frame)
}

package link

import (
	"sync"
	"sync/atomic"
)

// One read of the port gives at most 4 KiB (the kernel's buffers); a chunk takes many reads and is parsed in place.
// A frame lies whole in one chunk; what is there of one that no longer fits is copied to the next.
const (
	chunkBytes   = 4 * (HeaderBytes + MaxPayloadBytes)
	minRoomBytes = 4 * 1024
)

// chunk is a buffer that the port was read into. Packets are parts of it; the last holder gives it back.
type chunk struct {
	holders atomic.Int32
	home    *sync.Pool
	bytes   [chunkBytes]byte
}

var chunks atomic.Pointer[sync.Pool]

// ForgetBuffers lets go of the buffers that are not in use, and of those that are as soon as they are not.
func ForgetBuffers() { chunks.Store(nil) }

func newChunk() *chunk {
	home := chunks.Load()
	if home == nil {
		home = new(sync.Pool)
		home.New = func() any { return &chunk{home: home} }
		chunks.Store(home)
	}
	c := home.Get().(*chunk)
	c.holders.Store(1)
	return c
}

func (c *chunk) release() {
	if c.holders.Add(-1) == 0 {
		c.home.Put(c)
	}
}

// Packet is the payload of one frame. Its bytes are the link's: whoever keeps them beyond the call that brought them
// says Hold, and Release once.
type Packet struct {
	Bytes []byte
	from  *chunk
}

// NewPacket is a packet of the caller's own bytes.
func NewPacket(bytes []byte) Packet { return Packet{Bytes: bytes} }

// From is the packet without its first n bytes.
func (p Packet) From(n int) Packet { return Packet{p.Bytes[n:], p.from} }

// Hold keeps the bytes as they are until Release.
func (p Packet) Hold() {
	if p.from != nil {
		p.from.holders.Add(1)
	}
}

// Release gives the bytes back; they may change from here on.
func (p Packet) Release() {
	if p.from != nil {
		p.from.release()
	}
}

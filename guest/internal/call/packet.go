package call

import (
	"encoding/binary"
	"fmt"

	"pyro/guest/internal/link"
)

// Sizes of proto/LINK.md, in bytes.
const (
	headerBytes = 8
	// In front of what a packet carries: the link's header and the packet's.
	roomBytes    = link.HeaderBytes + headerBytes
	maxBodyBytes = link.MaxPayloadBytes - headerBytes
	deadlineSize = 4
	// maxMessageBytes bounds a message that is received.
	maxMessageBytes = 16 << 20
)

// window is what each side may send of a call before the first credit, and what each packet costs of it at least.
type window struct{ bytes, packetCost int }

// cost is that of a packet of a message.
func (w window) cost(bytes int) int { return max(bytes, w.packetCost) }

var (
	usualWindow   = window{bytes: 1 << 20}
	gatewayWindow = window{bytes: 256 << 10, packetCost: 256}
)

type kind byte

const (
	kindCall kind = 1 + iota
	kindMessage
	kindEnd
	kindCredit
	kindCancel
)

const (
	flagMore byte = 1 << iota
	flagLast
	flagWithMessage
)

// packet is a parsed one; body is what follows the header.
type packet struct {
	kind       kind
	flags      byte
	nameLength uint16
	id         uint32
	body       []byte
}

// put writes the header into the first headerBytes of b.
func (p packet) put(b []byte) {
	_ = b[headerBytes-1]
	b[0] = byte(p.kind)
	b[1] = p.flags
	binary.BigEndian.PutUint16(b[2:], p.nameLength)
	binary.BigEndian.PutUint32(b[4:], p.id)
}

// parse checks all that can be checked without knowing the call.
func parse(bytes []byte) (packet, error) {
	if len(bytes) < headerBytes {
		return packet{}, fmt.Errorf("a packet of %d bytes", len(bytes))
	}
	p := packet{
		kind: kind(bytes[0]), flags: bytes[1], nameLength: binary.BigEndian.Uint16(bytes[2:]),
		id: binary.BigEndian.Uint32(bytes[4:]), body: bytes[headerBytes:],
	}
	allowed := [...]byte{kindCall: flagMore | flagLast | flagWithMessage, kindMessage: flagMore | flagLast, kindCancel: 0}
	switch {
	case p.kind < kindCall || p.kind > kindCancel:
		return packet{}, fmt.Errorf("a packet of kind %d", p.kind)
	case p.flags&^allowed[p.kind] != 0, p.flags&(flagMore|flagLast) == flagMore|flagLast:
		return packet{}, fmt.Errorf("a packet of kind %d with flags %#x", p.kind, p.flags)
	case p.kind != kindCall && p.nameLength != 0:
		return packet{}, fmt.Errorf("a packet of kind %d with a name", p.kind)
	case p.kind == kindCall && len(p.body) < deadlineSize+int(p.nameLength):
		return packet{}, fmt.Errorf("a call cut off")
	case p.kind == kindCall && p.flags&flagWithMessage == 0 &&
		(p.flags != 0 && p.flags != flagLast || len(p.body) != deadlineSize+int(p.nameLength)):
		return packet{}, fmt.Errorf("a call with bytes of no message")
	case p.kind == kindCredit && (len(p.body) != 4 || binary.BigEndian.Uint32(p.body) == 0):
		return packet{}, fmt.Errorf("credit of nothing")
	case p.kind == kindCancel && len(p.body) != 0:
		return packet{}, fmt.Errorf("a cancel with bytes")
	}
	return p, nil
}

package link

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// Sizes of proto/LINK.md, in bytes.
const (
	HeaderBytes     = 20
	MaxPayloadBytes = 64 * 1024
	// FillerBytes is what the host sends first: it completes any half frame of an older connection.
	FillerBytes = HeaderBytes + MaxPayloadBytes
)

const (
	version   = 1
	typeHello = 1
	typeData  = 2
)

// Channel is one of the streams of the link.
type Channel uint8

// The channels of proto/LINK.md.
const (
	Control Channel = iota
	Event
	Bulk
	Probe
	Network
	channelCount
)

var magic = [4]byte{0x50, 0x59, 0xf1, 0x7e}

type header struct {
	kind    byte
	channel Channel
	epoch   uint32
	length  uint32
}

// put writes the header into the first HeaderBytes of b.
func (h header) put(b []byte) {
	_ = b[HeaderBytes-1]
	copy(b, magic[:])
	b[4] = version
	b[5] = h.kind
	b[6] = byte(h.channel)
	b[7] = 0
	binary.BigEndian.PutUint32(b[8:], h.epoch)
	binary.BigEndian.PutUint32(b[12:], h.length)
	binary.BigEndian.PutUint32(b[16:], crc32.ChecksumIEEE(b[:16]))
}

// parseHeader reads a header; what is not certainly one is refused, whatever part of it is wrong.
func parseHeader(b []byte) (header, bool) {
	_ = b[HeaderBytes-1]
	if [4]byte(b[:4]) != magic || b[4] != version || binary.BigEndian.Uint32(b[16:]) != crc32.ChecksumIEEE(b[:16]) {
		return header{}, false
	}
	h := header{
		kind:    b[5],
		channel: Channel(b[6]),
		epoch:   binary.BigEndian.Uint32(b[8:]),
		length:  binary.BigEndian.Uint32(b[12:]),
	}
	switch {
	case h.epoch == 0 || b[7] != 0:
		return header{}, false
	case h.kind == typeHello:
		return h, h.length == 0 && h.channel == 0
	case h.kind == typeData:
		return h, h.length <= MaxPayloadBytes && h.channel < channelCount
	default:
		return header{}, false
	}
}

// scan looks for the first header in b. It gives the count of bytes before it; where there is none, the count of
// bytes that cannot begin one (fewer than HeaderBytes are left to be looked at again when more have come).
func scan(b []byte) (skip int, h header, found bool) {
	for {
		at := bytes.IndexByte(b[skip:], magic[0])
		if at < 0 {
			return len(b), header{}, false
		}
		skip += at
		if len(b)-skip < HeaderBytes {
			known := min(len(b)-skip, len(magic))
			if bytes.Equal(b[skip:skip+known], magic[:known]) {
				return skip, header{}, false
			}
		} else if h, ok := parseHeader(b[skip:]); ok {
			return skip, h, true
		}
		skip++
	}
}

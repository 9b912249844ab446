package call

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Streams of bytes spend their time on copies, and under emulation a copy is dear: the bytes field of a message is not
// copied out of the packet it came in, nor from its buffer into the packet it goes out in.

// cut gives the content of a bytes field, where it lies, and the message without it.
func cut(message []byte, field protowire.Number) (data, rest []byte, err error) {
	for at := 0; at < len(message); {
		number, kind, tag := protowire.ConsumeTag(message[at:])
		if tag < 0 {
			return nil, nil, protowire.ParseError(tag)
		}
		length := protowire.ConsumeFieldValue(number, kind, message[at+tag:])
		if length < 0 {
			return nil, nil, protowire.ParseError(length)
		}
		end := at + tag + length
		if number == field && kind == protowire.BytesType {
			data, _ = protowire.ConsumeBytes(message[at+tag:])
		} else {
			rest = append(rest, message[at:end]...)
		}
		at = end
	}
	return data, rest, nil
}

// Chunk is a buffer for messages that are a stream of bytes: what is read into its room is sent from there.
type Chunk struct {
	field  protowire.Number
	buffer []byte
	// Where the length of the bytes stands.
	length int
}

// The length of the bytes always takes that many: it is known last.
const lengthBytes = 3

// NewChunk makes one for messages whose bytes field has that number.
func NewChunk(field protowire.Number) *Chunk {
	return &Chunk{field: field, buffer: make([]byte, roomBytes+maxBodyBytes)}
}

// Begin begins a message with all but its bytes, and gives the room for them.
func (c *Chunk) Begin(message proto.Message) ([]byte, error) {
	buffer, err := proto.MarshalOptions{}.MarshalAppend(c.buffer[:roomBytes], message)
	if err != nil {
		return nil, err
	}
	buffer = protowire.AppendTag(buffer, c.field, protowire.BytesType)
	c.length = len(buffer)
	if c.length+lengthBytes >= len(c.buffer) {
		return nil, errors.New("no room for bytes")
	}
	return c.buffer[c.length+lengthBytes:], nil
}

// end notes the count of the bytes, and gives the whole frame.
func (c *Chunk) end(n int) []byte {
	for i := range lengthBytes {
		c.buffer[c.length+i] = byte(n>>(7*i)) & 0x7f
		if i < lengthBytes-1 {
			c.buffer[c.length+i] |= 0x80
		}
	}
	return c.buffer[:c.length+lengthBytes+n]
}

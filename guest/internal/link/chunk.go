package link

import (
	"sync"
	"sync/atomic"
)

// One read of the port gives at most 4 KiB (the kernel's buffers); a chunk takes many reads and is parsed in place.
const (
	chunkBytes   = 128 * 1024
	minRoomBytes = 4 * 1024
)

// chunk is a buffer that the port was read into. Streams hold parts of it; the last holder gives it back.
type chunk struct {
	holders atomic.Int32
	bytes   [chunkBytes]byte
}

var chunks = sync.Pool{New: func() any { return new(chunk) }}

func newChunk() *chunk {
	c := chunks.Get().(*chunk)
	c.holders.Store(1)
	return c
}

func (c *chunk) release() {
	if c.holders.Add(-1) == 0 {
		chunks.Put(c)
	}
}

type segment struct {
	from       *chunk
	begin, end int
}

// segmentQueue is a first-in-first-out list of parts of chunks; its own memory is used again.
type segmentQueue struct {
	list []segment
	head int
}

func (q *segmentQueue) add(from *chunk, offset, n int) {
	if last := len(q.list) - 1; last >= q.head {
		// Parts of one frame arrive read by read, side by side in the same chunk.
		if tail := &q.list[last]; tail.from == from && tail.end == offset {
			tail.end += n
			return
		}
	}
	if q.head > 32 && q.head*2 > len(q.list) {
		kept := copy(q.list, q.list[q.head:])
		clear(q.list[kept:])
		q.list, q.head = q.list[:kept], 0
	}
	from.holders.Add(1)
	q.list = append(q.list, segment{from, offset, offset + n})
}

// read copies as much as there is and fits.
func (q *segmentQueue) read(p []byte) int {
	done := 0
	for done < len(p) && q.head < len(q.list) {
		s := &q.list[q.head]
		n := copy(p[done:], s.from.bytes[s.begin:s.end])
		done += n
		s.begin += n
		if s.begin == s.end {
			s.from.release()
			*s = segment{}
			q.head++
		}
	}
	if q.head == len(q.list) {
		q.list, q.head = q.list[:0], 0
	}
	return done
}

func (q *segmentQueue) drop() {
	for _, s := range q.list[q.head:] {
		s.from.release()
	}
	q.list, q.head = nil, 0
}

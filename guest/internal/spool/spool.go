// Package spool keeps the output of a command apart from whoever reads it: a byte stream with offsets, the newest part
// of which is held in memory.
//
// Invariants:
//   - the memory of a spool has a bound, except for what lies in the pipe when its command ends (Unbound);
//   - one writer, any number of readers; bytes once written never change, so a reader sends them without a lock;
//   - every byte that no reader was handed before it went is counted as dropped.
package spool

import (
	"errors"
	"sort"
	"sync"
)

// Policy is what happens when a full spool has no reader.
type Policy int

const (
	// Block makes the writer wait.
	Block Policy = iota
	// DropOldest forgets the oldest bytes and counts them.
	DropOldest
)

const (
	// DefaultBytes is the bound of a spool that was not given one.
	DefaultBytes = 4 << 20
	minimumBytes = 64 << 10
	// ChunkBytes is the most that a reader is handed at once: with the message around it, one frame of the link.
	ChunkBytes = 60 << 10
	// A first small segment: most commands print little.
	firstSegmentBytes = 4 << 10
	// Less room than this is not worth a read of the pipe.
	usefulRoomBytes = 4 << 10
)

// Errors of a spool.
var (
	ErrBeyondEnd  = errors.New("the offset lies beyond the end of the output")
	errOvercommit = errors.New("more was committed than reserved")
)

// Spool is one output stream of one command.
type Spool struct {
	policy       Policy
	bound        int
	segmentBytes int

	mu       sync.Mutex
	segments []*segment
	spare    *segment
	// Sum of the segments' capacities.
	allocated int
	end       uint64
	// What was handed to the reader that is furthest.
	handed  uint64
	dropped uint64
	closed  bool
	unbound bool
	readers map[*Reader]struct{}
	// Tells the writer that a reader went on.
	space chan struct{}
}

type segment struct {
	offset uint64
	// Its capacity never changes; only the writer writes, beyond its length.
	data []byte
	// Readers that are sending from it.
	pins    int
	retired bool
}

func (s *segment) end() uint64 { return s.offset + uint64(len(s.data)) }

// New makes a spool; boundBytes 0 means DefaultBytes.
func New(policy Policy, boundBytes int) *Spool {
	if boundBytes <= 0 {
		boundBytes = DefaultBytes
	}
	boundBytes = max(boundBytes, minimumBytes)
	return &Spool{
		policy:       policy,
		bound:        boundBytes,
		segmentBytes: min(boundBytes/8, ChunkBytes),
		readers:      make(map[*Reader]struct{}),
		space:        make(chan struct{}, 1),
	}
}

// Totals gives the bytes written and the bytes that nobody was handed before they were dropped.
func (s *Spool) Totals() (written, dropped uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end, s.dropped
}

// Extent gives the first byte that is still held and the end of the stream.
func (s *Spool) Extent() (first, end uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return s.end, s.end
	}
	return s.segments[0].offset, s.end
}

// Reserve gives room for the next bytes, at least one; with policy Block it waits for the readers. Commit says how
// much of it was used.
func (s *Spool) Reserve() []byte {
	s.mu.Lock()
	for {
		if room := s.room(); room != nil {
			s.mu.Unlock()
			return room
		}
		s.mu.Unlock()
		<-s.space
		s.mu.Lock()
	}
}

// room is what is left of the last segment, or a new one; nil when a reader must go on first.
func (s *Spool) room() []byte {
	if n := len(s.segments); n > 0 {
		last := s.segments[n-1]
		free := cap(last.data) - len(last.data)
		if free >= usefulRoomBytes || (free > 0 && cap(last.data) <= usefulRoomBytes) {
			return last.data[len(last.data):cap(last.data)]
		}
	}
	size := s.segmentBytes
	switch len(s.segments) {
	case 0:
		size = min(size, firstSegmentBytes)
	case 1:
		size = min(size, 16*firstSegmentBytes)
	}
	for s.allocated+size > s.bound && !s.unbound {
		if s.policy == Block && !s.behindReaders(s.segments[0]) {
			return nil
		}
		s.dropFirst()
	}
	next := s.spare
	s.spare = nil
	if next == nil || cap(next.data) != size {
		next = &segment{data: make([]byte, 0, size)}
	}
	next.offset, next.data, next.retired = s.end, next.data[:0], false
	s.segments = append(s.segments, next)
	s.allocated += size
	return next.data[0:size]
}

// behindReaders tells whether the segment may go under policy Block. Half of the bound is kept behind the readers: a
// client that lost its connection has not got all that was sent, and asks for it again.
func (s *Spool) behindReaders(first *segment) bool {
	floor := s.handed
	for reader := range s.readers {
		floor = min(floor, reader.position)
	}
	return first.end()+uint64(s.bound/2) <= floor
}

func (s *Spool) dropFirst() {
	first := s.segments[0]
	s.segments[0] = nil
	s.segments = s.segments[1:]
	s.allocated -= cap(first.data)
	if end := first.end(); end > s.handed {
		s.dropped += end - max(first.offset, s.handed)
	}
	first.retired = true
	s.recycle(first)
}

func (s *Spool) recycle(old *segment) {
	if old.retired && old.pins == 0 && cap(old.data) == s.segmentBytes {
		s.spare = old
	}
}

// Commit adds the first n bytes of what Reserve gave.
func (s *Spool) Commit(n int) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.segments[len(s.segments)-1]
	if n < 0 || len(last.data)+n > cap(last.data) {
		panic(errOvercommit)
	}
	last.data = last.data[:len(last.data)+n]
	s.end += uint64(n)
	s.wakeReaders()
}

// Write adds a copy of p.
func (s *Spool) Write(p []byte) {
	for len(p) > 0 {
		n := copy(s.Reserve(), p)
		s.Commit(n)
		p = p[n:]
	}
}

// Rewrite puts other bytes in the place of those that are held from the offset on; what lies elsewhere is dropped. Only
// for a stream that has ended. Bytes never change under a reader: it keeps those that it was handed.
func (s *Spool) Rewrite(offset uint64, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		return
	}
	for i, held := range s.segments {
		from, to := max(held.offset, offset), min(held.end(), offset+uint64(len(data)))
		if from >= to {
			continue
		}
		fresh := &segment{offset: held.offset, data: append(make([]byte, 0, cap(held.data)), held.data...)}
		copy(fresh.data[from-held.offset:], data[from-offset:to-offset])
		s.segments[i] = fresh
	}
}

// CloseWrite says that the stream has ended.
func (s *Spool) CloseWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.wakeReaders()
}

// Unbound lets the writer go on without the readers, beyond the bound; for the last bytes of a pipe.
func (s *Spool) Unbound() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unbound = true
	s.wakeWriter()
}

func (s *Spool) wakeReaders() {
	for reader := range s.readers {
		select {
		case reader.wake <- struct{}{}:
		default:
		}
	}
}

func (s *Spool) wakeWriter() {
	select {
	case s.space <- struct{}{}:
	default:
	}
}

// find gives the segment that holds the offset, or the first one after it.
func (s *Spool) find(offset uint64) *segment {
	at := sort.Search(len(s.segments), func(i int) bool { return s.segments[i].end() > offset })
	if at == len(s.segments) {
		return nil
	}
	return s.segments[at]
}

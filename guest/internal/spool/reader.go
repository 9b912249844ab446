package spool

import "fmt"

// Reader is one reader's place in a spool. It belongs to one goroutine.
type Reader struct {
	spool    *Spool
	position uint64
	pinned   *segment
	wake     chan<- struct{}
}

// NewReader reads from the offset on; all before it counts as received. The channel, which has room for one, is told
// when there is more. Close gives the place up.
func (s *Spool) NewReader(offset uint64, wake chan<- struct{}) (*Reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if offset > s.end {
		return nil, fmt.Errorf("offset %d of %d bytes: %w", offset, s.end, ErrBeyondEnd)
	}
	reader := &Reader{spool: s, position: offset, wake: wake}
	s.readers[reader] = struct{}{}
	s.handed = max(s.handed, offset)
	return reader, nil
}

// Next gives the next bytes, at most ChunkBytes, and their offset, which is further than the last end where bytes were
// dropped. Nil means that there are none now. They stay as they are until the next call of Next or Close.
func (r *Reader) Next() (offset uint64, data []byte) {
	s := r.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	r.unpin()
	from := s.find(r.position)
	if from == nil || len(from.data) == 0 {
		return 0, nil
	}
	r.position = max(r.position, from.offset)
	data = from.data[r.position-from.offset:]
	if len(data) > ChunkBytes {
		data = data[:ChunkBytes]
	}
	offset = r.position
	from.pins++
	r.pinned = from
	r.position += uint64(len(data))
	s.handed = max(s.handed, r.position)
	if s.policy == Block {
		s.wakeWriter()
	}
	return offset, data
}

// Position is the offset behind what Next gave last.
func (r *Reader) Position() uint64 {
	r.spool.mu.Lock()
	defer r.spool.mu.Unlock()
	return r.position
}

// AtEnd tells that the stream has ended and all of it was given.
func (r *Reader) AtEnd() bool {
	s := r.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed && r.position >= s.end
}

// Close gives up the place; the spool no longer waits for this reader.
func (r *Reader) Close() {
	s := r.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	r.unpin()
	delete(s.readers, r)
	s.wakeWriter()
}

func (r *Reader) unpin() {
	if r.pinned != nil {
		r.pinned.pins--
		r.spool.recycle(r.pinned)
		r.pinned = nil
	}
}

// Kept copies all that is held now, and tells the offset of its first byte; its end is what was written until now. No
// reader is needed for it, and it counts as handed to nobody.
func (s *Spool) Kept() (offset uint64, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	offset = s.end
	for _, held := range s.segments {
		if data == nil {
			offset = held.offset
			data = make([]byte, 0, s.end-offset)
		}
		data = append(data, held.data...)
	}
	return offset, data
}

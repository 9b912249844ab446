package link

// reader is the state between two reads of the port: inside which frame it is.
type reader struct {
	link *Link
	// Of the payload, what is still to come.
	remaining int
	// Where it goes; nil drops it.
	target  *Stream
	isProbe bool
}

// parse takes all it can of from.bytes[begin:end] and gives the new begin.
func (r *reader) parse(from *chunk, begin, end int) int {
	for begin < end {
		if r.remaining == 0 {
			skip, h, found := scan(from.bytes[begin:end])
			begin += skip
			if skip > 0 {
				r.link.skippedBytes.Add(uint64(skip))
			}
			if !found {
				return begin
			}
			begin += HeaderBytes
			r.enter(h)
			continue
		}
		n := min(r.remaining, end-begin)
		if r.isProbe {
			r.link.probe.add(uint64(n))
		} else if r.target != nil {
			if err := r.target.receive(from, begin, n); err != nil {
				// A peer that ignores the windows of HTTP/2; the next HELLO is a new chance.
				r.target.session.end()
			}
		}
		begin += n
		r.remaining -= n
	}
	return begin
}

func (r *reader) enter(h header) {
	r.target, r.isProbe = nil, false
	if h.kind == typeHello {
		r.link.hello(h.epoch)
		return
	}
	r.remaining = int(h.length)
	switch session := r.link.current(); {
	case session == nil || session.epoch != h.epoch:
		r.link.droppedFrames.Add(1)
	case h.channel == Probe:
		r.isProbe = true
	default:
		r.target = session.streams[h.channel]
	}
}

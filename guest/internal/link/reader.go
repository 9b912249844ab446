package link

// parse acts on all whole frames of from.bytes[begin:end] and gives the new begin.
func (l *Link) parse(from *chunk, begin, end int) int {
	for begin < end {
		skip, h, found := scan(from.bytes[begin:end])
		begin += skip
		if skip > 0 {
			l.skippedBytes.Add(uint64(skip))
		}
		if !found {
			return begin
		}
		next := begin + HeaderBytes + int(h.length)
		if next > end {
			return begin
		}
		l.act(h, Packet{from.bytes[begin+HeaderBytes : next], from})
		begin = next
	}
	return begin
}

func (l *Link) act(h header, packet Packet) {
	if h.kind == typeHello {
		l.hello(h.epoch)
		return
	}
	session := l.current()
	if session == nil || session.epoch != h.epoch {
		l.droppedFrames.Add(1)
		return
	}
	if h.channel == Probe {
		l.probe.add(uint64(len(packet.Bytes)))
		return
	}
	if receive := session.receivers[h.channel]; receive != nil {
		if err := receive(packet); err != nil {
			session.end()
		}
	}
}

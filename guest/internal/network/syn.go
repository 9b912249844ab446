package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// flow is one connection as the program sees it.
type flow struct{ from, to netip.AddrPort }

// syn is the first packet of a connection that a program wants, held back.
type syn struct {
	flow
	sequence uint32
	// Its TCP header and options as they came; the checksum in it is not complete.
	segment [60]byte
	length  int
	// The number of the control group that it comes from; 0 where that is not known.
	group uint64
}

// parseSyn reads what the filter of the listener tells.
func parseSyn(record []byte) (syn, bool) {
	if len(record) < synBytes {
		return syn{}, false
	}
	var s syn
	var from, to netip.Addr
	switch record[0] >> 4 {
	case 4:
		from, to = netip.AddrFrom4([4]byte(record[12:16])), netip.AddrFrom4([4]byte(record[16:20]))
	case 6:
		from, to = netip.AddrFrom16([16]byte(record[8:24])), netip.AddrFrom16([16]byte(record[24:40]))
	default:
		return syn{}, false
	}
	tcp := record[synTCPAt:]
	s.from = netip.AddrPortFrom(from, binary.BigEndian.Uint16(tcp))
	s.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(tcp[2:]))
	s.sequence = binary.BigEndian.Uint32(tcp[4:])
	s.length = int(tcp[tcpOffsetAt]>>4) * 4
	if s.length < synOptionsAt-synTCPAt || s.length > len(s.segment) {
		return syn{}, false
	}
	copy(s.segment[:], tcp[:s.length])
	s.group = binary.NativeEndian.Uint64(record[synGroupAt:])
	return s, true
}

// How a connect fails, by the ICMP that says so. (RFC 792, RFC 1812; RFC 4443.)
type unreachable struct{ icmp4, icmp6 byte }

var (
	// EHOSTUNREACH and EACCES: "communication administratively prohibited".
	prohibited = unreachable{13, 1}
	// EHOSTUNREACH.
	hostUnreachable = unreachable{1, 3}
)

// packets sends packets into the kernel, past the filter of the listener.
type packets struct{ ipv4, ipv6 int }

func openPackets() (*packets, error) {
	p := &packets{-1, -1}
	var err error
	if p.ipv4, err = openRaw(unix.AF_INET); err != nil {
		return nil, err
	}
	if p.ipv6, err = openRaw(unix.AF_INET6); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func openRaw(family int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		return -1, fmt.Errorf("open a raw socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, ourMark); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("mark the packets of a raw socket: %w", err)
	}
	return fd, nil
}

func (p *packets) close() {
	_ = unix.Close(p.ipv4)
	if p.ipv6 >= 0 {
		_ = unix.Close(p.ipv6)
	}
}

// admit lets the connection begin: the kernel answers the SYN.
func (p *packets) admit(s *syn) error {
	segment := s.segment[:s.length]
	// No more than SYN: what the program said of ECN would have to be answered by a kernel that saw it.
	segment[tcpFlagsAt] = flagSyn
	return p.send(s.from.Addr(), s.to.Addr(), unix.IPPROTO_TCP, withChecksum(segment, 16, s.flow, unix.IPPROTO_TCP))
}

// refuse fails the connect with ECONNREFUSED.
func (p *packets) refuse(s *syn) error {
	const flagsResetAck = 0x14
	segment := make([]byte, 20)
	binary.BigEndian.PutUint16(segment, s.to.Port())
	binary.BigEndian.PutUint16(segment[2:], s.from.Port())
	binary.BigEndian.PutUint32(segment[8:], s.sequence+1)
	segment[tcpOffsetAt] = 5 << 4
	segment[tcpFlagsAt] = flagsResetAck
	back := flow{s.to, s.from}
	return p.send(s.to.Addr(), s.from.Addr(), unix.IPPROTO_TCP, withChecksum(segment, 16, back, unix.IPPROTO_TCP))
}

// fail fails the connect with what the ICMP means.
func (p *packets) fail(s *syn, how unreachable) error {
	quoted := append(header(s.from.Addr(), s.to.Addr(), unix.IPPROTO_TCP, s.length), s.segment[:s.length]...)
	message := make([]byte, 8, 8+len(quoted))
	protocol := byte(unix.IPPROTO_ICMP)
	back := flow{s.to, s.from}
	if s.to.Addr().Is4() {
		message[0], message[1] = 3, how.icmp4
		// The kernel fills in the one it sends, not the one it quotes.
		binary.BigEndian.PutUint16(quoted[2:], uint16(len(quoted)))
		binary.BigEndian.PutUint16(quoted[10:], ^sum(0, quoted[:20]))
		back = flow{}
	} else {
		message[0], message[1] = 1, how.icmp6
		protocol = unix.IPPROTO_ICMPV6
	}
	return p.send(s.to.Addr(), s.from.Addr(), protocol, withChecksum(append(message, quoted...), 2, back, protocol))
}

func (p *packets) send(from, to netip.Addr, protocol byte, payload []byte) error {
	packet := append(header(from, to, protocol, len(payload)), payload...)
	if to.Is4() {
		return unix.Sendto(p.ipv4, packet, 0, &unix.SockaddrInet4{Addr: to.As4()})
	}
	return unix.Sendto(p.ipv6, packet, 0, &unix.SockaddrInet6{Addr: to.As16()})
}

// header is that of IP; the kernel fills in the length and the checksum of IPv4.
func header(from, to netip.Addr, protocol byte, payloadBytes int) []byte {
	const hops = 64
	if to.Is4() {
		h := make([]byte, 20, 20+payloadBytes)
		h[0], h[8], h[9] = 0x45, hops, protocol
		copy(h[12:], from.AsSlice())
		copy(h[16:], to.AsSlice())
		return h
	}
	h := make([]byte, 40, 40+payloadBytes)
	h[0], h[6], h[7] = 0x60, protocol, hops
	binary.BigEndian.PutUint16(h[4:], uint16(payloadBytes))
	copy(h[8:], from.AsSlice())
	copy(h[24:], to.AsSlice())
	return h
}

// withChecksum puts the checksum of RFC 1071 at a place of the payload; without a flow there is no pseudo header.
func withChecksum(payload []byte, at int, between flow, protocol byte) []byte {
	payload[at], payload[at+1] = 0, 0
	var total uint32
	if between.from.IsValid() {
		total = uint32(sum(uint32(protocol)+uint32(len(payload)), append(between.from.Addr().AsSlice(), between.to.Addr().AsSlice()...)))
	}
	binary.BigEndian.PutUint16(payload[at:], ^sum(total, payload))
	return payload
}

func sum(total uint32, bytes []byte) uint16 {
	for i := 0; i+1 < len(bytes); i += 2 {
		total += uint32(binary.BigEndian.Uint16(bytes[i:]))
	}
	if len(bytes)%2 == 1 {
		total += uint32(bytes[len(bytes)-1]) << 8
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

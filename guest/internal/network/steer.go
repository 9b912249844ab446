package network

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ourMark is on the packets that the agent itself sends into the kernel: "pyro".
const ourMark = 0x7079726f

// Of what the filter tells of a SYN: its headers, and who sent it.
const (
	synBytes        = 128
	synTCPAt        = 40
	synOptionsAt    = 60
	synGroupAt      = 104
	maxOptionsBytes = 40
	synRingBytes    = 64 << 10
	tcpFlagsAt      = 13
	tcpOffsetAt     = 12
	flagsSynAck     = 0x12
	flagSyn         = 0x02
)

// steerProgram leads each TCP connection to the listener of the map, whatever its address and port, but those to the
// machine's own addresses. It runs where the kernel looks for a listener: nothing of a connection that stands passes it.
func steerProgram(listeners int) *program {
	const (
		offsetFamily, offsetTransport = 8, 12
		offsetIPv4, offsetIPv6        = 40, 44
	)
	p := newProgram()
	p.move(6, 1)
	p.load(opLoad32, 2, 6, offsetTransport)
	p.jump(opIfNot, 2, unix.IPPROTO_TCP, "pass")
	p.load(opLoad32, 2, 6, offsetFamily)
	p.jump(opIfEqual, 2, unix.AF_INET6, "ipv6")
	p.load(opLoad32, 2, 6, offsetIPv4)
	p.jump(opIfEqual, 2, word(guestIPv4.AsSlice()), "pass")
	p.jump(opIfEqual, 2, word(resolverIPv4.AsSlice()), "pass")
	p.compute(opAndImm, 2, 0xff)
	p.jump(opIfEqual, 2, 127, "pass")
	p.jump(opJump, 0, 0, "steer")

	p.label("ipv6")
	p.load(opLoad32, 2, 6, offsetIPv6)
	p.jump(opIfEqual, 2, word(guestIPv6.AsSlice()), "pass")
	p.move(3, 2)
	p.compute(opAndImm, 3, 0xc0ff)
	p.jump(opIfEqual, 3, 0x80fe, "pass") // fe80::/10
	p.jump(opIfNot, 2, 0, "steer")
	p.load(opLoad32, 2, 6, offsetIPv6+4)
	p.jump(opIfNot, 2, 0, "steer")
	p.load(opLoad32, 2, 6, offsetIPv6+8)
	p.jump(opIfNot, 2, 0, "steer")
	p.jump(opJump, 0, 0, "pass") // ::1, ::, and what nobody uses

	p.label("steer")
	p.lookUp(listeners, -4)
	p.jump(opIfEqual, 0, 0, "refuse")
	p.move(7, 0)
	p.move(1, 6)
	p.move(2, 0)
	p.moveImm(3, 0)
	p.call(helperAssign)
	p.move(1, 7)
	p.call(helperRelease)
	p.label("pass")
	p.leave(1)
	p.label("refuse")
	p.leave(0)
	return p
}

// word is the first four bytes of an address as the kernel compares them.
func word(address []byte) int32 {
	return int32(uint32(address[0]) | uint32(address[1])<<8 | uint32(address[2])<<16 | uint32(address[3])<<24)
}

// holdProgram is the filter of the listener: a SYN goes into the ring and no further, until the agent sends it again
// with its mark. So a program's connect ends when the host's has, and with what it ended.
func holdProgram(ring, notes int) *program {
	p := newProgram()
	p.move(6, 1)
	p.emit(opLoadByte, 0, 0, 0, tcpFlagsAt)
	p.compute(opAndImm, 0, flagsSynAck)
	p.jump(opIfNot, 0, flagSyn, "pass")
	p.load(opLoad32, 1, 6, offsetMark)
	p.jump(opIfEqual, 1, ourMark, "pass")
	for at := int16(-synBytes); at < 0; at += 8 {
		p.store(opStoreImm, 10, 0, at, 0)
	}
	p.moveImm(4, 20)
	p.load(opLoad32, 1, 6, offsetProtocol)
	p.jump(opIfEqual, 1, 0x0008, "read")
	p.moveImm(4, 40)
	p.label("read")
	p.move(1, 6)
	p.moveImm(2, 0)
	p.stackAt(3, -synBytes)
	p.moveImm(5, fromNetworkHeader)
	p.call(helperLoadBytesRelative)
	p.jump(opIfNot, 0, 0, "drop")
	p.move(1, 6)
	p.moveImm(2, 0)
	p.stackAt(3, -synBytes+synTCPAt)
	p.moveImm(4, synOptionsAt-synTCPAt)
	p.call(helperLoadBytes)
	p.jump(opIfNot, 0, 0, "drop")
	p.load(opLoad8, 4, 10, -synBytes+synTCPAt+tcpOffsetAt)
	p.compute(opRightImm, 4, 2)
	p.compute(opAndImm, 4, 0x3c)
	// In the order that the verifier of Linux 6.1 follows.
	p.jump(opIfLess, 4, synOptionsAt-synTCPAt+1, "tell")
	p.compute(opAddImm, 4, -(synOptionsAt - synTCPAt))
	p.jump(opIfGreater, 4, maxOptionsBytes, "drop")
	p.move(1, 6)
	p.moveImm(2, synOptionsAt-synTCPAt)
	p.stackAt(3, -synBytes+synOptionsAt)
	p.call(helperLoadBytes)
	p.label("tell")
	p.readNote(notes)
	p.loadMap(1, ring)
	p.stackAt(2, -synBytes)
	p.moveImm(3, synBytes)
	p.moveImm(4, ringForceWakeup)
	p.call(helperRingOutput)
	p.label("drop")
	p.leave(0)
	p.label("pass")
	p.leave(-1)
	return p
}

// steering leads connections to a listener as long as it is open.
type steering struct {
	ring *ring
	// Of BPF programs.
	links []int
}

// steer leads all TCP connections of this network namespace to the listening socket, and tells of their SYNs.
func steer(listener int, commands Commands) (_ *steering, err error) {
	notes, links, err := openNotes(commands)
	if err != nil {
		return nil, err
	}
	defer unix.Close(notes)
	s := &steering{links: links}
	if s.ring, err = hold(listener, notes); err != nil {
		closeAll(links)
		return nil, err
	}
	link, err := attachSteering(listener)
	if err != nil {
		s.close()
		s.ring.unmap()
		return nil, err
	}
	s.links = append(s.links, link)
	return s, nil
}

// hold sets the filter of the listener.
func hold(listener, notes int) (*ring, error) {
	ringMap, err := createMap(unix.BPF_MAP_TYPE_RINGBUF, 0, 0, synRingBytes)
	if err != nil {
		return nil, err
	}
	filter, err := holdProgram(ringMap, notes).loadAs(unix.BPF_PROG_TYPE_SOCKET_FILTER, 0)
	if err != nil {
		_ = unix.Close(ringMap)
		return nil, err
	}
	defer unix.Close(filter)
	if err := unix.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, filter); err != nil {
		_ = unix.Close(ringMap)
		return nil, fmt.Errorf("filter the SYNs of the listener: %w", err)
	}
	return openRing(ringMap)
}

func attachSteering(listener int) (int, error) {
	listeners, err := createMap(unix.BPF_MAP_TYPE_SOCKMAP, 4, 8, 1)
	if err != nil {
		return -1, err
	}
	defer unix.Close(listeners)
	if err := updateMap(listeners, 0, uint64(listener)); err != nil {
		return -1, err
	}
	steerer, err := steerProgram(listeners).loadAs(unix.BPF_PROG_TYPE_SK_LOOKUP, unix.BPF_SK_LOOKUP)
	if err != nil {
		return -1, err
	}
	defer unix.Close(steerer)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	namespace, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return -1, err
	}
	defer namespace.Close()
	return attach(steerer, int(namespace.Fd()), unix.BPF_SK_LOOKUP)
}

func (s *steering) close() {
	closeAll(s.links)
	s.ring.close()
}

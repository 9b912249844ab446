package network

import (
	"golang.org/x/sys/unix"
)

// Who opens a connection is known where a program calls connect: there the control group is noted, beside the address.
// The SYN is made, and comes to the listener, before that call goes on; its filter finds the note of its processor there.

// Layout of the note.
const (
	noteAddressAt = 0 // the last four bytes of the address
	notePortAt    = 4
	noteGroupAt   = 8
	noteBytes     = 16
)

// noteProgram notes who connects; it refuses nobody.
func noteProgram(notes, level int, ipv6 bool) *program {
	const (
		offsetIPv4, offsetLastOfIPv6, offsetPort, offsetTransport = 4, 20, 24, 36
	)
	addressAt := int16(offsetIPv4)
	if ipv6 {
		addressAt = offsetLastOfIPv6
	}
	p := newProgram()
	p.move(6, 1)
	p.load(opLoad32, 2, 6, offsetTransport)
	p.jump(opIfNot, 2, unix.IPPROTO_TCP, "done")
	p.moveImm(1, int32(level))
	p.call(helperAncestorGroup)
	p.move(7, 0)
	p.lookUp(notes, -4)
	p.jump(opIfEqual, 0, 0, "done")
	p.load(opLoad32, 1, 6, addressAt)
	p.emit(opStoreReg4, 0, 1, noteAddressAt, 0)
	p.load(opLoad32, 1, 6, offsetPort)
	p.emit(opStoreReg4, 0, 1, notePortAt, 0)
	p.emit(opStoreReg, 0, 7, noteGroupAt, 0)
	p.label("done")
	p.leave(1)
	return p
}

// readNote puts the group of a SYN's note into its record, whose headers are there already. A note counts once.
func (p *program) readNote(notes int) {
	const (
		ipv4At, ipv6At    = -synBytes + 16, -synBytes + 36
		portAt            = -synBytes + synTCPAt + 2
		scratch           = -8
		versionOfIPv4     = 0x40
		versionBits       = 0xf0
		firstByteOfHeader = -synBytes
	)
	p.lookUp(notes, scratch)
	p.jump(opIfEqual, 0, 0, "noted")
	p.load(opLoad8, 1, 10, firstByteOfHeader)
	p.compute(opAndImm, 1, versionBits)
	p.load(opLoad32, 2, 10, ipv6At)
	p.jump(opIfNot, 1, versionOfIPv4, "compare")
	p.load(opLoad32, 2, 10, ipv4At)
	p.label("compare")
	p.load(opLoad32, 1, 0, noteAddressAt)
	p.jumpUnlike(1, 2, "noted")
	p.load(opLoad16, 2, 10, portAt)
	p.load(opLoad32, 1, 0, notePortAt)
	p.jumpUnlike(1, 2, "noted")
	p.load(opLoad64, 1, 0, noteGroupAt)
	p.emit(opStoreReg, 10, 1, -synBytes+synGroupAt, 0)
	p.store(opStore32, 0, 0, notePortAt, 0)
	p.label("noted")
}

// openNotes makes the notes, and attaches what writes them to the control group of all commands. The links end with
// their descriptors. Without control groups nobody is noted.
func openNotes(commands Commands) (notes int, links []int, err error) {
	if notes, err = createMap(unix.BPF_MAP_TYPE_PERCPU_ARRAY, 4, noteBytes, 1); err != nil {
		return -1, nil, err
	}
	if commands.Group == nil {
		return notes, nil, nil
	}
	for _, kind := range []uint32{unix.BPF_CGROUP_INET4_CONNECT, unix.BPF_CGROUP_INET6_CONNECT} {
		link, err := attachNote(notes, commands, kind)
		if err != nil {
			closeAll(append(links, notes))
			return -1, nil, err
		}
		links = append(links, link)
	}
	return notes, links, nil
}

func attachNote(notes int, commands Commands, kind uint32) (int, error) {
	fd, err := noteProgram(notes, commands.Level, kind == unix.BPF_CGROUP_INET6_CONNECT).loadAs(unix.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, kind)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	return attach(fd, commands.Group.FD(), kind)
}

func closeAll(descriptors []int) {
	for _, fd := range descriptors {
		_ = unix.Close(fd)
	}
}

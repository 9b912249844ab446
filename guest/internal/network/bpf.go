package network

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's BPF, as far as two small programs need it. A library for it would be a third of the agent: +1.8 MB.

// Operations, registers and helpers are those of linux/bpf.h.
const (
	opMovImm    = 0xb7
	opMovReg    = 0xbf
	opAddImm    = 0x07
	opAndImm    = 0x57
	opRightImm  = 0x77
	opLoad32    = 0x61
	opLoad16    = 0x69
	opLoad64    = 0x79
	opLoad8     = 0x71
	opStoreImm  = 0x7a
	opStore32   = 0x62
	opStoreReg  = 0x7b
	opStoreReg4 = 0x63
	opLoadMap   = 0x18
	opLoadByte  = 0x30
	opJump      = 0x05
	opIfEqual   = 0x15
	opIfGreater = 0x25
	opIfLess    = 0xa5
	opIfNot     = 0x55
	opIfNotReg  = 0x5d
	opCall      = 0x85
	opExit      = 0x95

	helperMapLookup            = 1
	helperLoadBytes            = 26
	helperLoadBytesRelative    = 68
	helperRelease              = 86
	helperAncestorGroup        = 123
	helperAssign               = 124
	helperRingOutput           = 130
	pseudoMap                  = 1
	ringForceWakeup            = 2
	fromNetworkHeader          = 1
	sizeOfInstruction          = 8
	programLicence             = "MIT"
	verifierLogBytes           = 64 << 10
	offsetMark, offsetProtocol = 8, 16
)

// program is an assembler: jumps go to labels, which are set later.
type program struct {
	code   []byte
	jumps  map[int]string
	labels map[string]int
}

func newProgram() *program {
	return &program{jumps: make(map[int]string), labels: make(map[string]int)}
}

func (p *program) emit(op, to, from byte, offset int16, value int32) {
	p.code = append(p.code, op, to|from<<4)
	p.code = binary.NativeEndian.AppendUint16(p.code, uint16(offset))
	p.code = binary.NativeEndian.AppendUint32(p.code, uint32(value))
}

func (p *program) moveImm(to byte, value int32)                 { p.emit(opMovImm, to, 0, 0, value) }
func (p *program) move(to, from byte)                           { p.emit(opMovReg, to, from, 0, 0) }
func (p *program) compute(op, to byte, value int32)             { p.emit(op, to, 0, 0, value) }
func (p *program) load(op, to, from byte, offset int16)         { p.emit(op, to, from, offset, 0) }
func (p *program) store(op, to, from byte, at int16, val int32) { p.emit(op, to, from, at, val) }
func (p *program) call(helper int32)                            { p.emit(opCall, 0, 0, 0, helper) }
func (p *program) label(name string)                            { p.labels[name] = len(p.code) / sizeOfInstruction }

// stackAt puts the address of a place of the stack into a register.
func (p *program) stackAt(to byte, offset int32) {
	p.move(to, 10)
	p.compute(opAddImm, to, offset)
}

func (p *program) loadMap(to byte, fd int) {
	p.emit(opLoadMap, to, pseudoMap, 0, int32(fd))
	p.emit(0, 0, 0, 0, 0)
}

func (p *program) jump(op, register byte, value int32, label string) {
	p.jumps[len(p.code)/sizeOfInstruction] = label
	p.emit(op, register, 0, 0, value)
}

func (p *program) leave(value int32) {
	p.moveImm(0, value)
	p.emit(opExit, 0, 0, 0, 0)
}

// jumpUnlike jumps where two registers differ.
func (p *program) jumpUnlike(a, b byte, label string) {
	p.jumps[len(p.code)/sizeOfInstruction] = label
	p.emit(opIfNotReg, a, b, 0, 0)
}

// lookUp gives the address of a map's only entry in register 0; 0 where there is none. It uses 4 bytes of the stack.
func (p *program) lookUp(fd int, stack int16) {
	p.store(opStore32, 10, 0, stack, 0)
	p.loadMap(1, fd)
	p.stackAt(2, int32(stack))
	p.call(helperMapLookup)
}

// assembled is the code with its jumps resolved.
func (p *program) assembled() []byte {
	for at, label := range p.jumps {
		binary.NativeEndian.PutUint16(p.code[at*sizeOfInstruction+2:], uint16(p.labels[label]-at-1))
	}
	return p.code
}

func bpf(command uintptr, attributes unsafe.Pointer, size uintptr) (int, error) {
	for {
		fd, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attributes), size)
		if errno == unix.EAGAIN || errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return -1, errno
		}
		return int(fd), nil
	}
}

func createMap(kind, keyBytes, valueBytes, entries uint32) (int, error) {
	attributes := struct{ kind, keyBytes, valueBytes, entries, flags uint32 }{kind, keyBytes, valueBytes, entries, 0}
	fd, err := bpf(unix.BPF_MAP_CREATE, unsafe.Pointer(&attributes), unsafe.Sizeof(attributes))
	if err != nil {
		return -1, fmt.Errorf("make a BPF map of kind %d: %w", kind, err)
	}
	return fd, nil
}

func updateMap(fd int, key uint32, value uint64) error {
	attributes := struct {
		fd, _      uint32
		key, value unsafe.Pointer
		flags      uint64
	}{fd: uint32(fd), key: unsafe.Pointer(&key), value: unsafe.Pointer(&value)}
	if _, err := bpf(unix.BPF_MAP_UPDATE_ELEM, unsafe.Pointer(&attributes), unsafe.Sizeof(attributes)); err != nil {
		return fmt.Errorf("update a BPF map: %w", err)
	}
	return nil
}

func (p *program) loadAs(kind, attachType uint32) (int, error) {
	code := p.assembled()
	licence := append([]byte(programLicence), 0)
	var log []byte
	attributes := struct {
		kind, count            uint32
		code, licence          unsafe.Pointer
		logLevel, logBytes     uint32
		log                    unsafe.Pointer
		kernelVersion, flags   uint32
		name                   [16]byte
		device, expectedAttach uint32
	}{
		kind: kind, count: uint32(len(code) / sizeOfInstruction), code: unsafe.Pointer(&code[0]), licence: unsafe.Pointer(&licence[0]),
		expectedAttach: attachType,
	}
	fd, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attributes), unsafe.Sizeof(attributes))
	if err != nil {
		log = make([]byte, verifierLogBytes)
		attributes.logLevel, attributes.logBytes, attributes.log = 1, verifierLogBytes, unsafe.Pointer(&log[0])
		fd, err = bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attributes), unsafe.Sizeof(attributes))
	}
	if err != nil {
		return -1, fmt.Errorf("load a BPF program: %w: %s", err, unix.ByteSliceToString(log))
	}
	return fd, nil
}

// attach links a program to a network namespace or a control group; the link ends with its descriptor.
func attach(programFD, target int, attachType uint32) (int, error) {
	attributes := struct{ program, target, attachType, flags uint32 }{uint32(programFD), uint32(target), attachType, 0}
	fd, err := bpf(unix.BPF_LINK_CREATE, unsafe.Pointer(&attributes), unsafe.Sizeof(attributes))
	if err != nil {
		return -1, fmt.Errorf("attach a BPF program of type %d: %w", attachType, err)
	}
	return fd, nil
}

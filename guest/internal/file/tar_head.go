package file

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// Of one block of a tar, as POSIX.1-2001 has it (pax, "ustar Interchange Format").
const (
	tarBlockBytes = 512
	tarNameBytes  = 100
	// The largest numbers that fit in fields of 8 and of 12 bytes.
	tarShortMost, tarLongMost = 1<<21 - 1, 1<<33 - 1
)

// tarHead is what comes before an entry's content.
type tarHead struct {
	name, link           string
	kind                 byte
	mode, uid, gid       uint32
	size                 int64
	seconds, nanoseconds int64
}

// tarHeads makes heads; what it gives is good until the next one. archive/tar would do, but the
// agent's own code, of which it was the most, had a third of the samples while small files were packed under emulation.
type tarHeads struct {
	records, blocks []byte
}

// of gives a block, and before it the records of what does not fit in one: a name of other than plain letters or more
// than 100 bytes, large numbers, times finer than a second.
func (h *tarHeads) of(head *tarHead) []byte {
	h.records, h.blocks = h.records[:0], h.blocks[:0]
	if !fitsName(head.name) {
		h.record("path", head.name)
	}
	if !fitsName(head.link) {
		h.record("linkpath", head.link)
	}
	if head.size > tarLongMost {
		h.record("size", strconv.FormatInt(head.size, 10))
	}
	if head.uid > tarShortMost {
		h.record("uid", strconv.FormatUint(uint64(head.uid), 10))
	}
	if head.gid > tarShortMost {
		h.record("gid", strconv.FormatUint(uint64(head.gid), 10))
	}
	if head.nanoseconds != 0 || head.seconds < 0 || head.seconds > tarLongMost {
		h.record("mtime", secondsText(head.seconds, head.nanoseconds))
	}
	if size := len(h.records); size > 0 {
		h.block(&tarHead{name: "PaxHeaders.0", kind: 'x', mode: 0o644, size: int64(size)})
		h.blocks = append(h.blocks, h.records...)
		h.blocks = append(h.blocks, make([]byte, -size&(tarBlockBytes-1))...)
	}
	h.block(head)
	return h.blocks
}

func fitsName(name string) bool {
	if len(name) > tarNameBytes {
		return false
	}
	for index := range len(name) {
		if name[index] < ' ' || name[index] > '~' {
			return false
		}
	}
	return true
}

// secondsText: a decimal fraction counts away from zero, nanoseconds of a time before 1970 towards it.
func secondsText(seconds, nanoseconds int64) string {
	sign := ""
	if seconds < 0 {
		sign, seconds = "-", -seconds
		if nanoseconds > 0 {
			seconds, nanoseconds = seconds-1, 1e9-nanoseconds
		}
	}
	text := strconv.AppendInt([]byte(sign), seconds, 10)
	if nanoseconds == 0 {
		return string(text)
	}
	// Ten digits, the first of which gives way to the point.
	at := len(text)
	text = strconv.AppendInt(text, 1e9+nanoseconds, 10)
	text[at] = '.'
	return string(text)
}

// record has its own length in front, that number included.
func (h *tarHeads) record(key, value string) {
	rest := len(key) + len(value) + 3
	length := rest + 1
	for digits(length)+rest != length {
		length = digits(length) + rest
	}
	h.records = strconv.AppendInt(h.records, int64(length), 10)
	h.records = append(append(append(append(h.records, ' '), key...), '='), value...)
	h.records = append(h.records, '\n')
}

func digits(number int) int {
	count := 1
	for ; number >= 10; number /= 10 {
		count++
	}
	return count
}

// block adds one block. What did not fit is cut: a record before it says it all.
func (h *tarHeads) block(head *tarHead) {
	var block [tarBlockBytes]byte
	// A name that was cut behind a slash would be a directory's.
	copy(block[:tarNameBytes], strings.TrimRight(head.name[:min(len(head.name), tarNameBytes)], "/"))
	octal(block[100:108], uint64(head.mode))
	octal(block[108:116], uint64(min(head.uid, tarShortMost)))
	octal(block[116:124], uint64(min(head.gid, tarShortMost)))
	octal(block[124:136], uint64(min(head.size, tarLongMost)))
	octal(block[136:148], uint64(max(0, min(head.seconds, tarLongMost))))
	copy(block[148:156], "        ")
	block[156] = head.kind
	copy(block[157:157+tarNameBytes], head.link)
	copy(block[257:], "ustar\x0000")
	octal(block[148:155], sumOf(&block))
	h.blocks = append(h.blocks, block[:]...)
}

// octal fills a field with digits but for its last byte, which stays.
func octal(field []byte, number uint64) {
	for at := len(field) - 2; at >= 0; at-- {
		field[at] = '0' + byte(number&7)
		number >>= 3
	}
	field[len(field)-1] = 0
}

func sumOf(block *[tarBlockBytes]byte) (sum uint64) {
	for at := 0; at < tarBlockBytes; at += 8 {
		// Most of a block is empty.
		if binary.NativeEndian.Uint64(block[at:]) == 0 {
			continue
		}
		for _, each := range block[at : at+8] {
			sum += uint64(each)
		}
	}
	return sum
}

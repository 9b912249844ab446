package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"strings"
	"time"
)

const (
	blockBytes = 512
	// Of what comes before an entry and is taken apart here: records and long names.
	metaBytesMost = 8 << 10
	// What is looked at ahead has to fit: three of those, and four blocks.
	streamBytes = 64 << 10
)

// stream reads a tar. Entries as seeds have them, by the thousand, are taken apart here: archive/tar makes twenty
// allocations for each, and the agent's own code, of which it was the most, had a fifth of the samples of a seed. Everything else is
// archive/tar's, entry by entry, and what both understand they understand alike (a fuzz target compares them).
type stream struct {
	from *bufio.Reader
	// Where the archive lies on a disk; nil where it comes in any other way.
	disk *Disk
	// What of the entry's content was not read, and the padding behind it; of an entry taken apart here.
	left, padding int64
	// Of an entry that archive/tar takes apart, with the count of bytes that tells where its blocks end.
	foreign *tar.Reader
	counted *countedReader
	// Used again for each entry.
	header tar.Header
}

func newStream(from io.Reader) *stream {
	disk, _ := from.(*Disk)
	return &stream{from: bufio.NewReaderSize(from, streamBytes), disk: disk}
}

// next goes on to an entry; what was not read of the last one is left out. io.EOF is the archive's end. The header is
// good until the next call.
func (s *stream) next() (*tar.Header, error) {
	if err := s.finish(); err != nil {
		return nil, err
	}
	if used := s.plain(); used > 0 {
		_, _ = s.from.Discard(used)
		if s.header.Typeflag == tar.TypeReg {
			s.left, s.padding = s.header.Size, -s.header.Size&(blockBytes-1)
		}
		return &s.header, nil
	}
	s.counted = &countedReader{from: s.from}
	s.foreign = tar.NewReader(s.counted)
	return s.foreign.Next()
}

// finish goes behind the last entry.
func (s *stream) finish() error {
	if s.foreign != nil {
		if _, err := io.Copy(io.Discard, s.foreign); err != nil {
			return err
		}
		s.left, s.padding = 0, -s.counted.count&(blockBytes-1)
		s.foreign, s.counted = nil, nil
	}
	left, padding := s.left, int(s.padding)
	s.left, s.padding = 0, 0
	for left > 0 {
		n, err := s.from.Discard(int(min(left, 1<<30)))
		if err != nil {
			return unexpected(err)
		}
		left -= int64(n)
	}
	// An archive may end without its last padding.
	_, err := s.from.Discard(padding)
	return err
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Read reads the entry's content.
func (s *stream) Read(p []byte) (int, error) {
	if s.foreign != nil {
		return s.foreign.Read(p)
	}
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.from.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	return n, unexpected(err)
}

// moveTo moves the first part of a large content into an empty file, from disk to disk; the rest is to be read. It does
// nothing where that cannot be.
func (s *stream) moveTo(ctx context.Context, fd int) (moved int64, err error) {
	if s.disk == nil || s.foreign != nil || s.left < directBytes {
		return 0, nil
	}
	// What was read ahead is of this content: it is longer.
	if err := s.disk.giveBack(s.from.Buffered()); err != nil {
		return 0, err
	}
	s.from.Reset(s.disk)
	moved, err = s.disk.moveTo(ctx, fd, s.left)
	s.left -= moved
	return moved, err
}

// small gives all content of an entry where it is at hand without a copy, good until the next call; nil otherwise.
func (s *stream) small() []byte {
	if s.foreign != nil || s.left == 0 || s.left > streamBytes {
		return nil
	}
	content, err := s.from.Peek(int(s.left))
	if err != nil {
		return nil
	}
	return content
}

// countedReader counts what was read through it.
type countedReader struct {
	from  io.Reader
	count int64
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.count += int64(n)
	return n, err
}

// plain takes an entry apart, and says how many bytes its blocks are; 0, and nothing is taken, where there is anything
// about it that seeds do not have.
func (s *stream) plain() (used int) {
	var name, link string
	var at time.Time
	for {
		ahead, err := s.from.Peek(used + blockBytes)
		if err != nil {
			return 0
		}
		block := ahead[used:]
		used += blockBytes
		kind := block[156]
		if !isPlain(block) {
			return 0
		}
		if kind != 'x' && kind != 'L' && kind != 'K' {
			if !s.entry(block) {
				return 0
			}
			break
		}
		size, ok := parseOctal(block[124:136])
		ok = ok && isNumber(block[100:108]) && isNumber(block[108:116]) && isNumber(block[116:124]) && isNumber(block[136:148])
		if !ok || size == 0 || size > metaBytesMost || used > 3*metaBytesMost {
			return 0
		}
		padded := int(size + -size&(blockBytes-1))
		if ahead, err = s.from.Peek(used + padded); err != nil {
			return 0
		}
		meta := ahead[used : used+int(size)]
		used += padded
		switch {
		case kind == 'L' && name == "":
			name = untilNUL(meta)
			ok = name != ""
		case kind == 'K' && link == "":
			link = untilNUL(meta)
			ok = link != ""
		case kind == 'x' && at.IsZero():
			at, ok = timeRecord(meta)
		default:
			ok = false
		}
		if !ok {
			return 0
		}
	}
	if name != "" {
		s.header.Name = name
	}
	if link != "" {
		s.header.Linkname = link
	}
	if !at.IsZero() {
		s.header.ModTime = at
	}
	return used
}

// isPlain: a block as GNU tar and POSIX have it, with a right sum, and empty from behind the devices' numbers on.
func isPlain(block []byte) bool {
	if magic := string(block[257:265]); magic != "ustar  \x00" && magic != "ustar\x0000" {
		return false
	}
	sum, ok := parseOctal(block[148:156])
	if !ok || !isNumber(block[329:337]) || !isNumber(block[337:345]) {
		return false
	}
	total := int64(8 * ' ')
	for at := 0; at < 344; at += 8 {
		if at == 148&^7 || at == 152 {
			continue
		}
		total += sumOfWord(block[at:])
	}
	for at := 144; at < 148; at++ {
		total += int64(block[at])
	}
	for at := 156; at < 160; at++ {
		total += int64(block[at])
	}
	if block[344] != 0 || total != sum {
		return false
	}
	for at := 344; at < blockBytes; at += 8 {
		if binary.NativeEndian.Uint64(block[at:]) != 0 {
			return false
		}
	}
	return true
}

// isNumber: digits, or nothing at all.
func isNumber(field []byte) bool {
	_, ok := parseOctal(field)
	return ok || len(bytes.Trim(field, "\x00")) == 0
}

// sumOfWord adds eight bytes; most of a block is empty.
func sumOfWord(word []byte) (sum int64) {
	if binary.NativeEndian.Uint64(word) == 0 {
		return 0
	}
	for _, each := range word[:8] {
		sum += int64(each)
	}
	return sum
}

// entry takes the block of a file, directory or symbolic link apart; false for all else.
func (s *stream) entry(block []byte) bool {
	kind := block[156]
	mode, isMode := parseOctal(block[100:108])
	uid, isUID := parseOctal(block[108:116])
	gid, isGID := parseOctal(block[116:124])
	size, isSize := parseOctal(block[124:136])
	seconds, isTime := parseOctal(block[136:148])
	if !isMode || !isUID || !isGID || !isSize || !isTime {
		return false
	}
	name := untilNUL(block[:100])
	switch kind {
	case tar.TypeReg:
		if strings.HasSuffix(name, "/") {
			return false
		}
	case tar.TypeDir, tar.TypeSymlink:
		if size != 0 {
			return false
		}
	default:
		return false
	}
	s.header = tar.Header{
		Typeflag: kind, Name: name, Linkname: untilNUL(block[157:257]), Mode: mode, Uid: int(uid), Gid: int(gid),
		Size: size, ModTime: time.Unix(seconds, 0),
	}
	return true
}

func untilNUL(field []byte) string {
	if end := bytes.IndexByte(field, 0); end >= 0 {
		field = field[:end]
	}
	return string(field)
}

// parseOctal takes digits with nothing but one NUL or space, or both, behind them.
func parseOctal(field []byte) (number int64, ok bool) {
	at := 0
	for ; at < len(field) && field[at] >= '0' && field[at] <= '7'; at++ {
		number = number<<3 | int64(field[at]-'0')
	}
	if at == 0 {
		return 0, false
	}
	for _, rest := range field[at:] {
		if rest != 0 && rest != ' ' {
			return 0, false
		}
	}
	return number, true
}

// timeRecord takes apart what has one record, "LENGTH mtime=SECONDS.FRACTION\n", after 1970.
func timeRecord(record []byte) (at time.Time, ok bool) {
	const key = " mtime="
	if len(record) < len(key)+4 || len(record) > 99 || record[len(record)-1] != '\n' ||
		int(record[0]-'0')*10+int(record[1]-'0') != len(record) || string(record[2:2+len(key)]) != key {
		return at, false
	}
	text := record[2+len(key) : len(record)-1]
	var seconds, nanoseconds int64
	digit := 0
	for ; digit < len(text) && text[digit] != '.'; digit++ {
		if text[digit] < '0' || text[digit] > '9' || digit > 11 {
			return at, false
		}
		seconds = seconds*10 + int64(text[digit]-'0')
	}
	// The fraction has all of its digits, or there is none.
	if digit == 0 || digit != len(text) && digit+10 != len(text) {
		return at, false
	}
	for _, each := range text[min(digit+1, len(text)):] {
		if each < '0' || each > '9' {
			return at, false
		}
		nanoseconds = nanoseconds*10 + int64(each-'0')
	}
	return time.Unix(seconds, nanoseconds), true
}

package spool_test

import (
	"bytes"
	"testing"

	"pyro/guest/internal/spool"
)

func TestWhatIsKeptOfAStreamThatEndedIsRewritten(t *testing.T) {
	const bound = 64 << 10
	s := spool.New(spool.DropOldest, bound)
	// More than one segment, and more than is kept.
	write(t, s, 0, 3*bound)
	first, end := s.Extent()
	_, before := s.Kept()
	stars := bytes.Repeat([]byte{'*'}, int(end))
	s.Rewrite(0, stars)
	if _, kept := s.Kept(); !bytes.Equal(kept, before) {
		t.Fatal("a stream that has not ended was rewritten")
	}
	s.CloseWrite()
	wake := make(chan struct{}, 1)
	reader, err := s.NewReader(first, wake)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	_, handed := reader.Next()
	held := bytes.Clone(handed)
	s.Rewrite(first+10, stars[:end-first-20])
	offset, kept := s.Kept()
	if offset != first || uint64(len(kept)) != end-first {
		t.Fatalf("%d bytes from %d on are kept, not %d from %d on", len(kept), offset, end-first, first)
	}
	want := bytes.Clone(before)
	copy(want[10:], stars[:end-first-20])
	if !bytes.Equal(kept, want) {
		t.Error("the bytes are not those that were put there")
	}
	if !bytes.Equal(handed, held) {
		t.Error("bytes changed under their reader")
	}
	s.Rewrite(0, stars)
	if _, kept := s.Kept(); !bytes.Equal(kept, stars[first:]) {
		t.Error("bytes before what is kept put the rest in a wrong place")
	}
	s.Rewrite(end, stars)
	if got, _ := s.Totals(); got != end {
		t.Errorf("%d bytes were written, %d before", got, end)
	}
}

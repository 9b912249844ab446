package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"pyro/guest/internal/spool"
)

// pattern is the byte that belongs at an offset, so that a misplaced byte is seen.
func pattern(offset uint64) byte { return byte(offset*7 + offset>>8*13) }

func write(t *testing.T, s *spool.Spool, from, n uint64) {
	t.Helper()
	data := make([]byte, n)
	for i := range data {
		data[i] = pattern(from + uint64(i))
	}
	s.Write(data)
}

// drain reads to the end and gives the bytes received and those missed.
func drain(t *testing.T, s *spool.Spool, offset uint64) (received, missed uint64) {
	t.Helper()
	wake := make(chan struct{}, 1)
	reader, err := s.NewReader(offset, wake)
	if err != nil {
		t.Error(err)
		return
	}
	return follow(t, reader, wake, offset)
}

func follow(t *testing.T, reader *spool.Reader, wake <-chan struct{}, at uint64) (received, missed uint64) {
	t.Helper()
	defer reader.Close()
	for {
		ended := reader.AtEnd()
		from, data := reader.Next()
		if data == nil {
			if ended {
				return received, missed
			}
			<-wake
			continue
		}
		missed += from - at
		for i, b := range data {
			if b != pattern(from+uint64(i)) {
				t.Errorf("wrong byte at %d", from+uint64(i))
				return
			}
		}
		at = from + uint64(len(data))
		received += uint64(len(data))
	}
}

func TestABlockingSpoolLosesNothingAndKeepsItsBound(t *testing.T) {
	s := spool.New(spool.Block, 1<<20)
	const total = 20 << 20
	go func() {
		for at := uint64(0); at < total; {
			n := min(uint64(rand.IntN(100_000)+1), total-at)
			write(t, s, at, n)
			at += n
		}
		s.CloseWrite()
	}()
	received, missed := drain(t, s, 0)
	written, dropped := s.Totals()
	if received != total || missed != 0 || written != total || dropped != 0 {
		t.Fatalf("received %d, missed %d, written %d, dropped %d", received, missed, written, dropped)
	}
}

func TestABlockingSpoolWaitsForTheSlowestReader(t *testing.T) {
	s := spool.New(spool.Block, 256<<10)
	const total = 4 << 20
	var readers sync.WaitGroup
	for range 3 {
		wake := make(chan struct{}, 1)
		reader, err := s.NewReader(0, wake)
		if err != nil {
			t.Fatal(err)
		}
		readers.Go(func() {
			if received, missed := follow(t, reader, wake, 0); received != total || missed != 0 {
				t.Errorf("received %d, missed %d", received, missed)
			}
		})
	}
	for at := uint64(0); at < total; at += 4096 {
		write(t, s, at, 4096)
	}
	s.CloseWrite()
	readers.Wait()
}

func TestAResumedReaderGetsAllThatTheLostOneWasHanded(t *testing.T) {
	s := spool.New(spool.Block, 1<<20)
	const total = 16 << 20
	go func() {
		for at := uint64(0); at < total; at += 50_000 {
			write(t, s, at, min(50_000, total-at))
		}
		s.CloseWrite()
	}()
	at := uint64(0)
	for at < total {
		wake := make(chan struct{}, 1)
		reader, err := s.NewReader(at, wake)
		if err != nil {
			t.Fatal(err)
		}
		handed := at
		for range 5 {
			from, data := reader.Next()
			if data == nil {
				if reader.AtEnd() {
					break
				}
				<-wake
				continue
			}
			if from != handed {
				t.Fatalf("a gap from %d to %d", handed, from)
			}
			handed = from + uint64(len(data))
		}
		reader.Close()
		// Of what was handed, up to half of the bound never arrived.
		lost := min(uint64(rand.IntN(512<<10)), handed-at)
		if handed < total || lost > 0 && rand.IntN(2) == 0 {
			handed -= lost / 2
		}
		at = handed
	}
}

func TestADroppingSpoolCountsExactlyWhatNobodyGot(t *testing.T) {
	s := spool.New(spool.DropOldest, 128<<10)
	write(t, s, 0, 1_000_003)
	s.CloseWrite()
	written, dropped := s.Totals()
	received, missed := drain(t, s, 0)
	if written != 1_000_003 || received+dropped != written || missed != dropped || received < 64<<10 {
		t.Fatalf("written %d, dropped %d, received %d, missed %d", written, dropped, received, missed)
	}
}

func TestBytesThatWereReadAreNotCountedAsDropped(t *testing.T) {
	s := spool.New(spool.DropOldest, 64<<10)
	wake := make(chan struct{}, 1)
	reader, err := s.NewReader(0, wake)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var received uint64
	for at := uint64(0); at < 1<<20; at += 1000 {
		write(t, s, at, 1000)
		for {
			_, data := reader.Next()
			if data == nil {
				break
			}
			received += uint64(len(data))
		}
	}
	if written, dropped := s.Totals(); dropped != 0 || received != written {
		t.Fatalf("written %d, received %d, dropped %d", written, received, dropped)
	}
}

func TestAChunkStaysAsItIsWhileItIsBeingSent(t *testing.T) {
	s := spool.New(spool.DropOldest, 64<<10)
	write(t, s, 0, 8192)
	reader, err := s.NewReader(0, make(chan struct{}, 1))
	if err != nil {
		t.Fatal(err)
	}
	_, data := reader.Next()
	before := bytes.Clone(data)
	write(t, s, 8192, 1<<20)
	if !bytes.Equal(before, data) {
		t.Fatal("the bytes changed")
	}
	reader.Close()
}

func TestAnOffsetBeyondTheEndIsRefused(t *testing.T) {
	s := spool.New(spool.Block, 0)
	if _, err := s.NewReader(1, make(chan struct{}, 1)); !errors.Is(err, spool.ErrBeyondEnd) {
		t.Fatal(err)
	}
}

func TestUnboundWakesAWaitingWriter(t *testing.T) {
	s := spool.New(spool.Block, 64<<10)
	written := make(chan struct{})
	go func() {
		s.Write(make([]byte, 1<<20))
		close(written)
	}()
	s.Unbound()
	<-written
}

func TestWhatIsKeptIsCopiedWithoutAReader(t *testing.T) {
	s := spool.New(spool.DropOldest, 64<<10)
	if offset, data := s.Kept(); offset != 0 || len(data) != 0 {
		t.Errorf("an empty one keeps %d bytes from %d on", len(data), offset)
	}
	for i := range 10_000 {
		s.Write([]byte(fmt.Sprintf("%09d\n", i)))
	}
	offset, data := s.Kept()
	if offset == 0 || offset+uint64(len(data)) != 100_000 || !bytes.HasSuffix(data, []byte("000009999\n")) {
		t.Errorf("it keeps %d bytes from %d on", len(data), offset)
	}
}

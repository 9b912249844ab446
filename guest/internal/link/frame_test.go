package link

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func frame(h header, payload []byte) []byte {
	b := make([]byte, HeaderBytes, HeaderBytes+len(payload))
	h.length = uint32(len(payload))
	h.put(b)
	return append(b, payload...)
}

func TestAHeaderHasTheLayoutOfTheProtocol(t *testing.T) {
	got := hex.EncodeToString(frame(header{kind: typeData, channel: Bulk, epoch: 0x01020304}, make([]byte, 0x1234))[:16])
	if want := "5059f17e" + "01020200" + "01020304" + "00001234"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}

func TestAHeaderWithAnyWrongPartIsNone(t *testing.T) {
	cases := map[string]func(b []byte){
		"version":             func(b []byte) { b[4] = 2 },
		"type":                func(b []byte) { b[5] = 3 },
		"channel":             func(b []byte) { b[6] = byte(channelCount) },
		"reserved byte":       func(b []byte) { b[7] = 1 },
		"epoch 0":             func(b []byte) { clear(b[8:12]) },
		"one byte too long":   func(b []byte) { binary.BigEndian.PutUint32(b[12:], MaxPayloadBytes+1) },
		"4 GiB":               func(b []byte) { binary.BigEndian.PutUint32(b[12:], 0xffffffff) },
		"HELLO with payload":  func(b []byte) { b[5], b[6] = typeHello, 0 },
		"HELLO on a channel":  func(b []byte) { b[5] = typeHello; clear(b[12:16]) },
		"magic":               func(b []byte) { b[3] = 0 },
		"checksum (not ours)": nil,
	}
	for name, change := range cases {
		b := frame(header{kind: typeData, channel: Bulk, epoch: 7}, []byte("x"))[:HeaderBytes]
		if change == nil {
			b[19] ^= 1
		} else {
			change(b)
			binary.BigEndian.PutUint32(b[16:], crc32.ChecksumIEEE(b[:16]))
		}
		if _, ok := parseHeader(b); ok {
			t.Errorf("accepted a header with a wrong %s", name)
		}
	}
}

func TestScanKeepsWhatMayGoOn(t *testing.T) {
	half := frame(header{kind: typeHello, epoch: 9}, nil)[:HeaderBytes-1]
	skip, _, found := scan(append(make([]byte, 5), half...))
	if skip != 5 || found {
		t.Fatalf("skip %d, found %v", skip, found)
	}
}

func TestScanFindsAHeaderBehindAnyBytes(t *testing.T) {
	hello := frame(header{kind: typeHello, epoch: 9}, nil)
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 1))
		noise := make([]byte, random.IntN(80))
		for i := range noise {
			noise[i] = byte(random.Uint32())
			if random.IntN(3) == 0 {
				noise[i] = magic[random.IntN(4)]
			}
		}
		skip, h, found := scan(append(noise, hello...))
		if !found || skip != len(noise) || h.epoch != 9 {
			t.Fatalf("seed %d: skip %d of %d, found %v", seed, skip, len(noise), found)
		}
	}
}

// However the bytes are cut into reads, the same frames are found, and nothing is read out of bounds.
func FuzzScan(f *testing.F) {
	f.Add(frame(header{kind: typeHello, epoch: 9}, nil), 3)
	f.Add(append([]byte("PYPY"), frame(header{kind: typeData, channel: Event, epoch: 1}, []byte("abc"))...), 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		whole := positions(b, len(b)+1)
		if pieces := positions(b, 1+(cut&0xff)); !bytes.Equal(whole, pieces) {
			t.Fatalf("%x in one piece, %x in pieces of %d", whole, pieces, 1+(cut&0xff))
		}
	})
}

// positions scans b in reads of the given size and gives the headers found, as bytes.
func positions(b []byte, size int) []byte {
	var result, rest []byte
	for begin := 0; begin < len(b); begin += size {
		rest = append(rest, b[begin:min(begin+size, len(b))]...)
		for {
			skip, _, found := scan(rest)
			rest = rest[skip:]
			if !found {
				break
			}
			result = append(result, rest[:HeaderBytes]...)
			rest = rest[HeaderBytes:]
		}
	}
	return result
}

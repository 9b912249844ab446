package network

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/dns/dnsmessage"
)

// checkAnswer is what holds for any bytes that a program sends.
func checkAnswer(t *testing.T, message []byte, stream bool) {
	t.Helper()
	asked := 0
	answer := answerQuery(t.Context(), message, stream, func(_ context.Context, name string, ipv6 bool) found {
		asked++
		if name == "" || len(name) > 254 || !utf8.ValidString(name) {
			t.Errorf("the host was asked for %q: %x", name, message)
		}
		f := found{ttl: 1}
		for i := range len(name) {
			address := netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
			if ipv6 {
				address = netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 15: byte(i)})
			}
			f.addresses = append(f.addresses, address)
		}
		return f
	})
	if asked > 1 {
		t.Errorf("the host was asked %d times: %x", asked, message)
	}
	if answer == nil {
		return
	}
	var parsed dnsmessage.Message
	if err := parsed.Unpack(answer); err != nil {
		t.Fatalf("%v: %x of %x", err, answer, message)
	}
	most := maxUDPAnswerBytes
	if stream {
		most = maxTCPAnswerBytes
	}
	if parsed.ID != binary.BigEndian.Uint16(message) || !parsed.Response || len(answer) > most || len(parsed.Questions) > 1 {
		t.Fatalf("%+v of %x", parsed.Header, message)
	}
}

func FuzzAnswerQuery(f *testing.F) {
	f.Add(query(f, "example.org.", dnsmessage.TypeA, 1232), false)
	f.Add(query(f, "a.very.long.name.of.many.labels.that.makes.an.answer.long.example.org.", dnsmessage.TypeAAAA, 0), true)
	f.Add([]byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 0x0c, 0, 1, 0, 1}, false)
	f.Fuzz(func(t *testing.T, message []byte, stream bool) { checkAnswer(t, message, stream) })
}

func TestAnyBytesAreAnsweredOrDropped(t *testing.T) {
	const seed = 20_261_121
	random := rand.New(rand.NewPCG(seed, 0))
	seeds := [][]byte{
		query(t, "example.org.", dnsmessage.TypeA, 1232), query(t, "host.pyro.internal.", dnsmessage.TypeAAAA, 0),
		query(t, "\xff\x00\\.example.", dnsmessage.TypeA, 512), query(t, ".", dnsmessage.TypePTR, 65_535),
	}
	for range 20_000 {
		message := append([]byte(nil), seeds[random.IntN(len(seeds))]...)
		for range random.IntN(6) {
			at := random.IntN(len(message))
			switch random.IntN(4) {
			case 0:
				message[at] = byte(random.Uint32())
			case 1:
				message[at] ^= 1 << random.IntN(8)
			case 2:
				message = message[:at+1]
			default:
				message = append(message[:at], append(append([]byte(nil), seeds[random.IntN(len(seeds))][random.IntN(12):]...), message[at:]...)...)
			}
		}
		checkAnswer(t, message, random.IntN(2) == 0)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

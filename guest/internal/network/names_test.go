package network

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
)

func query(t testing.TB, name string, kind dnsmessage.Type, ednsBytes int) []byte {
	t.Helper()
	builder := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 4711, RecursionDesired: true})
	if err := builder.StartQuestions(); err != nil {
		t.Fatal(err)
	}
	if err := builder.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}); err != nil {
		t.Fatal(err)
	}
	if ednsBytes > 0 {
		if err := builder.StartAdditionals(); err != nil {
			t.Fatal(err)
		}
		var head dnsmessage.ResourceHeader
		if err := head.SetEDNS0(ednsBytes, dnsmessage.RCodeSuccess, false); err != nil {
			t.Fatal(err)
		}
		if err := builder.OPTResource(head, dnsmessage.OPTResource{}); err != nil {
			t.Fatal(err)
		}
	}
	message, err := builder.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return message
}

// said is an answer in one line: its code, its addresses, and what is odd of it.
func said(t testing.TB, answer []byte) string {
	t.Helper()
	var message dnsmessage.Message
	if err := message.Unpack(answer); err != nil {
		t.Fatalf("%v: %x", err, answer)
	}
	if message.ID != 4711 || !message.Response || !message.RecursionAvailable {
		t.Fatalf("%+v", message.Header)
	}
	words := []string{strings.TrimPrefix(message.RCode.String(), "RCode")}
	for _, resource := range message.Answers {
		switch body := resource.Body.(type) {
		case *dnsmessage.AResource:
			words = append(words, netip.AddrFrom4(body.A).String())
		case *dnsmessage.AAAAResource:
			words = append(words, netip.AddrFrom16(body.AAAA).String())
		}
	}
	for _, resource := range message.Additionals {
		if opt, ok := resource.Body.(*dnsmessage.OPTResource); ok {
			words = append(words, "EDNS")
			for _, option := range opt.Options {
				words = append(words, fmt.Sprintf("%d:%x", option.Code, option.Data))
			}
		}
	}
	if message.Truncated {
		words = append(words, "truncated")
	}
	return strings.Join(words, " ")
}

// addressBook answers by the name alone.
func addressBook(request *guestv1.ResolveRequest) *guestv1.ResolveResponse {
	ipv6 := request.Family == guestv1.AddressFamily_ADDRESS_FAMILY_IPV6
	switch request.Name {
	case "example.org", "EXAMPLE.org":
		if ipv6 {
			return &guestv1.ResolveResponse{Addresses: [][]byte{netip.MustParseAddr("2001:db8::7").AsSlice()}, TtlSeconds: 60}
		}
		// The second is no address, the third of the other family.
		return &guestv1.ResolveResponse{Addresses: [][]byte{{203, 0, 113, 7}, {1, 2}, make([]byte, 16), {203, 0, 113, 8}}, TtlSeconds: 60}
	case "many.example":
		many := &guestv1.ResolveResponse{TtlSeconds: 60}
		for i := range 60 {
			many.Addresses = append(many.Addresses, []byte{203, 0, 113, byte(i)})
		}
		return many
	case "brief.example":
		return &guestv1.ResolveResponse{Addresses: [][]byte{{203, 0, 113, 9}}}
	case "refused.example":
		return &guestv1.ResolveResponse{Failure: guestv1.ResolveFailure_RESOLVE_FAILURE_REFUSED}
	case "broken.example":
		return &guestv1.ResolveResponse{Failure: guestv1.ResolveFailure_RESOLVE_FAILURE_FAILED}
	case "empty.example":
		return &guestv1.ResolveResponse{}
	default:
		return &guestv1.ResolveResponse{Failure: guestv1.ResolveFailure_RESOLVE_FAILURE_NOT_FOUND}
	}
}

func ask(t *testing.T, network string, message []byte) string {
	t.Helper()
	conn, err := net.Dial(network, "10.0.2.3:53")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if network == "tcp" {
		message = append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
	}
	if _, err := conn.Write(message); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 65_537)
	if network == "udp" {
		n, err := conn.Read(answer)
		if err != nil {
			t.Fatal(err)
		}
		return said(t, answer[:n])
	}
	if _, err := io.ReadFull(conn, answer[:2]); err != nil {
		t.Fatal(err)
	}
	length := binary.BigEndian.Uint16(answer)
	if _, err := io.ReadFull(conn, answer[:length]); err != nil {
		t.Fatal(err)
	}
	return said(t, answer[:length])
}

func TestTheResolverAnswersWhatTheHostSays(t *testing.T) {
	m := newMachine(t)
	m.meet(t, &gateway{resolve: addressBook})
	m.egress(t, true)
	many := "Success"
	for i := range 60 {
		many += fmt.Sprintf(" 203.0.113.%d", i)
	}
	for _, c := range []struct {
		name     string
		kind     dnsmessage.Type
		edns     int
		udp, tcp string
	}{
		{"example.org.", dnsmessage.TypeA, 0, "Success 203.0.113.7 203.0.113.8", ""},
		{"EXAMPLE.org.", dnsmessage.TypeA, 1232, "Success 203.0.113.7 203.0.113.8 EDNS", ""},
		{"example.org.", dnsmessage.TypeAAAA, 0, "Success 2001:db8::7", ""},
		{"example.org.", dnsmessage.TypeMX, 0, "Success", ""},
		{"example.org.", dnsmessage.TypeALL, 0, "Success", ""},
		{"7.113.0.203.in-addr.arpa.", dnsmessage.TypePTR, 0, "NameError", ""},
		{"none.example.", dnsmessage.TypeA, 0, "NameError", ""},
		{"empty.example.", dnsmessage.TypeA, 0, "Success", ""},
		{"refused.example.", dnsmessage.TypeA, 0, "NameError", ""},
		{"refused.example.", dnsmessage.TypeA, 1232, "NameError EDNS 15:0012", ""},
		{"broken.example.", dnsmessage.TypeA, 0, "ServerFailure", ""},
		{"host.pyro.internal.", dnsmessage.TypeA, 0, "Success 10.0.2.2", ""},
		{"Host.Pyro.internal.", dnsmessage.TypeAAAA, 0, "Success", ""},
		{"not\xffutf8.example.", dnsmessage.TypeA, 0, "NameError", ""},
		{".", dnsmessage.TypeA, 0, "Success", ""},
		{"many.example.", dnsmessage.TypeA, 0, "Success truncated", many},
		{"many.example.", dnsmessage.TypeA, 1232, many + " EDNS", ""},
	} {
		if c.tcp == "" {
			c.tcp = c.udp
		}
		if got := ask(t, "udp", query(t, c.name, c.kind, c.edns)); got != c.udp {
			t.Errorf("%q %s over UDP: %s", c.name, c.kind, got)
		}
		if got := ask(t, "tcp", query(t, c.name, c.kind, c.edns)); got != c.tcp {
			t.Errorf("%q %s over TCP: %s", c.name, c.kind, got)
		}
	}
}

func TestAnAnswerIsAskedForOnceWhileItIsGood(t *testing.T) {
	m := newMachine(t)
	first, second := &gateway{resolve: addressBook}, &gateway{resolve: addressBook}
	leave := m.meet(t, first)
	m.egress(t, true)
	for range 3 {
		for _, name := range []string{"example.org.", "EXAMPLE.org.", "brief.example.", "none.example."} {
			ask(t, "udp", query(t, name, dnsmessage.TypeA, 0))
		}
	}
	if got := first.questions(); len(got) != 7 || got[0] != "example.org ADDRESS_FAMILY_IPV4" {
		t.Error(got)
	}
	// The next host has not heard the question, and so does not know whose address it is.
	leave()
	if got := ask(t, "udp", query(t, "example.org.", dnsmessage.TypeA, 0)); got != "ServerFailure" {
		t.Error("without a host:", got)
	}
	m.meet(t, second)
	ask(t, "udp", query(t, "example.org.", dnsmessage.TypeA, 0))
	if got := second.questions(); len(got) != 1 {
		t.Error(got)
	}
}

func TestAKeptAnswerGrowsOld(t *testing.T) {
	var c cache
	host := new(call.Peer)
	now := time.Now()
	c.put(host, asked{"example.org", false}, found{ttl: 60}, now)
	if f, ok := c.get(host, asked{"example.org", false}, now.Add(20*time.Second)); !ok || f.ttl != 40 {
		t.Error(f, ok)
	}
	for _, miss := range []asked{{"example.org", true}, {"example.com", false}} {
		if _, ok := c.get(host, miss, now); ok {
			t.Error(miss)
		}
	}
	if _, ok := c.get(host, asked{"example.org", false}, now.Add(60*time.Second)); ok {
		t.Error("it is too old")
	}
	if _, ok := c.get(new(call.Peer), asked{"example.org", false}, now); ok {
		t.Error("it is of another host")
	}
	for i := range 3 * maxCachedNames {
		c.put(host, asked{fmt.Sprint(i), false}, found{ttl: 60}, now)
	}
	if len(c.kept) > maxCachedNames {
		t.Error(len(c.kept))
	}
	c.clear()
	if _, ok := c.get(host, asked{"1", false}, now); ok {
		t.Error("it was to be forgotten")
	}
}

func TestAQueryThatWaitsDoesNotHoldUpTheEnd(t *testing.T) {
	m := newMachine(t)
	entered, release := make(chan struct{}, 1), make(chan struct{})
	leave := m.meet(t, &gateway{resolve: func(*guestv1.ResolveRequest) *guestv1.ResolveResponse {
		entered <- struct{}{}
		<-release
		return &guestv1.ResolveResponse{}
	}})
	defer close(release)
	m.egress(t, true)
	conn, err := net.Dial("udp", "10.0.2.3:53")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(query(t, "slow.example.", dnsmessage.TypeA, 0)); err != nil {
		t.Fatal(err)
	}
	<-entered
	silent := dial(t, "10.0.2.3:53")
	m.egress(t, false)
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("a connection of the resolver is left")
	}
	leave()
}

func TestWhatIsNoQueryIsNotAsked(t *testing.T) {
	header := func(flags, questions uint16) []byte {
		return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, 4711), flags), questions)
	}
	rest := make([]byte, 6)
	for name, c := range map[string]struct {
		message []byte
		want    string
	}{
		"empty":               {nil, ""},
		"cut off":             {[]byte{0x12, 0x67, 1}, ""},
		"an answer":           {append(header(0x8000, 0), rest...), ""},
		"another operation":   {append(header(0x2800, 0), rest...), "NotImplemented"},
		"no question":         {append(header(0x0100, 0), rest...), "FormatError"},
		"a question cut off":  {append(header(0x0100, 1), rest...), "FormatError"},
		"a name without end":  {append(append(header(0x0100, 1), rest...), 0xc0, 0x0c, 0, 1, 0, 1), "FormatError"},
		"another class":       {append(append(header(0x0100, 1), rest...), 1, 'a', 0, 0, 1, 0, 3), "Refused"},
		"an answer cut off":   {append(append(header(0x0100, 1), 0, 1, 0, 0, 0, 0), 1, 'a', 0, 0, 1, 0, 1), "FormatError"},
		"an addition cut off": {append(append(header(0x0100, 1), 0, 0, 0, 0, 0, 1), 1, 'a', 0, 0, 1, 0, 1), "FormatError"},
	} {
		answer := answerQuery(t.Context(), c.message, false, func(context.Context, string, bool) found {
			t.Errorf("%s: the host was asked", name)
			return found{}
		})
		got := ""
		if answer != nil {
			got = said(t, answer)
		}
		if got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

package network

import (
	"context"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// Bytes of an answer over UDP: without EDNS (RFC 1035), and at most with it; over TCP as many as the length can say.
	plainAnswerBytes  = 512
	maxUDPAnswerBytes = 4096
	maxTCPAnswerBytes = 65_535
	// Most addresses that an answer holds.
	maxAnswers = 64
	// Extended DNS errors (RFC 8914).
	extendedError     = 15
	extendedProhibits = 18
	// The host itself, where the gateway connects to what the user has opened there.
	hostName    = "host.pyro.internal"
	hostNameTTL = 60
)

// found is what a name leads to. A code other than success has no addresses; prohibited tells that policy refuses it.
type found struct {
	code       dnsmessage.RCode
	prohibited bool
	addresses  []netip.Addr
	ttl        uint32
}

// resolver looks up the addresses of one family.
type resolver func(ctx context.Context, name string, ipv6 bool) found

// question is what a query asks, and how the answer may look.
type question struct {
	header   dnsmessage.Header
	question dnsmessage.Question
	edns     bool
	most     int
}

// answerQuery answers one DNS message; nil: with nothing.
func answerQuery(ctx context.Context, query []byte, stream bool, resolve resolver) []byte {
	q, code, ok := parseQuery(query, stream)
	if !ok {
		return nil
	}
	if code != dnsmessage.RCodeSuccess {
		return q.pack(found{code: code})
	}
	return q.pack(lookUp(ctx, q.question, resolve))
}

// parseQuery reads a query. One that is none is not ok; one that cannot be answered has a code.
func parseQuery(query []byte, stream bool) (q question, code dnsmessage.RCode, ok bool) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil || header.Response {
		return q, 0, false
	}
	q.header, q.most = header, plainAnswerBytes
	if stream {
		q.most = maxTCPAnswerBytes
	}
	if header.OpCode != 0 {
		return q, dnsmessage.RCodeNotImplemented, true
	}
	questions, err := parser.AllQuestions()
	if err != nil || len(questions) != 1 {
		return q, dnsmessage.RCodeFormatError, true
	}
	q.question = questions[0]
	if parser.SkipAllAnswers() != nil || parser.SkipAllAuthorities() != nil {
		return q, dnsmessage.RCodeFormatError, true
	}
	for {
		additional, err := parser.AdditionalHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil || parser.SkipAdditional() != nil {
			return q, dnsmessage.RCodeFormatError, true
		}
		if additional.Type == dnsmessage.TypeOPT {
			q.edns = true
			if !stream {
				q.most = min(max(int(additional.Class), plainAnswerBytes), maxUDPAnswerBytes)
			}
		}
	}
	if q.question.Class != dnsmessage.ClassINET {
		return q, dnsmessage.RCodeRefused, true
	}
	return q, dnsmessage.RCodeSuccess, true
}

// lookUp asks the host for addresses; of all else there is nothing, and no address has a name.
func lookUp(ctx context.Context, q dnsmessage.Question, resolve resolver) found {
	name := strings.TrimSuffix(q.Name.String(), ".")
	switch q.Type {
	case dnsmessage.TypeA, dnsmessage.TypeAAAA:
	case dnsmessage.TypePTR:
		return found{code: dnsmessage.RCodeNameError}
	default:
		return found{}
	}
	ipv6 := q.Type == dnsmessage.TypeAAAA
	switch {
	case name == "":
		return found{}
	case !utf8.ValidString(name):
		// The wire has no such name, and no host on the internet either.
		return found{code: dnsmessage.RCodeNameError}
	case strings.EqualFold(name, hostName):
		if ipv6 {
			return found{}
		}
		return found{addresses: []netip.Addr{hostIPv4}, ttl: hostNameTTL}
	}
	return resolve(ctx, name, ipv6)
}

// pack writes the answer; where it is too long, it says so and the program asks again over TCP.
func (q question) pack(f found) []byte {
	answer, err := q.packed(f)
	if err != nil || len(answer) > q.most {
		q.header.Truncated = true
		answer, err = q.packed(found{code: f.code})
	}
	if err != nil {
		return nil
	}
	return answer
}

func (q question) packed(f found) ([]byte, error) {
	builder := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: q.header.ID, Response: true, OpCode: q.header.OpCode, Truncated: q.header.Truncated,
		RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true, RCode: f.code,
	})
	builder.EnableCompression()
	if q.question.Name.Length > 0 {
		if err := builder.StartQuestions(); err != nil {
			return nil, err
		}
		if err := builder.Question(q.question); err != nil {
			return nil, err
		}
	}
	if err := builder.StartAnswers(); err != nil {
		return nil, err
	}
	head := dnsmessage.ResourceHeader{Name: q.question.Name, Class: dnsmessage.ClassINET, TTL: f.ttl}
	for _, address := range f.addresses[:min(len(f.addresses), maxAnswers)] {
		var err error
		if address.Is4() {
			err = builder.AResource(head, dnsmessage.AResource{A: address.As4()})
		} else {
			err = builder.AAAAResource(head, dnsmessage.AAAAResource{AAAA: address.As16()})
		}
		if err != nil {
			return nil, err
		}
	}
	if q.edns {
		if err := packEDNS(&builder, f.prohibited); err != nil {
			return nil, err
		}
	}
	return builder.Finish()
}

func packEDNS(builder *dnsmessage.Builder, prohibited bool) error {
	if err := builder.StartAdditionals(); err != nil {
		return err
	}
	var head dnsmessage.ResourceHeader
	if err := head.SetEDNS0(maxUDPAnswerBytes, dnsmessage.RCodeSuccess, false); err != nil {
		return err
	}
	var options []dnsmessage.Option
	if prohibited {
		options = []dnsmessage.Option{{Code: extendedError, Data: []byte{0, extendedProhibits}}}
	}
	return builder.OPTResource(head, dnsmessage.OPTResource{Options: options})
}

package network

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
)

const (
	// By then the C library has asked again three times.
	resolveTimeout = 20 * time.Second
	maxTTLSeconds  = 3600
	maxCachedNames = 512
)

// resolve asks the host, or remembers what it said.
func (s *Service) resolve(ctx context.Context, name string, ipv6 bool) found {
	host, epoch := s.host()
	if host == nil {
		return found{code: dnsmessage.RCodeServerFailure}
	}
	key := asked{strings.ToLower(name), ipv6}
	if known, ok := s.cache.get(host, key, time.Now()); ok {
		return known
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	defer context.AfterFunc(epoch, cancel)()
	request := &guestv1.ResolveRequest{Name: name, Family: guestv1.AddressFamily_ADDRESS_FAMILY_IPV4}
	if ipv6 {
		request.Family = guestv1.AddressFamily_ADDRESS_FAMILY_IPV6
	}
	response := &guestv1.ResolveResponse{}
	if err := host.Call(ctx, "pyro.guest.v1.GatewayService/Resolve", request, response); err != nil {
		return found{code: dnsmessage.RCodeServerFailure}
	}
	f := answered(response, ipv6)
	if f.code == dnsmessage.RCodeSuccess && f.ttl > 0 {
		s.cache.put(host, key, f, time.Now())
	}
	return f
}

// answered is what the host's answer means to a program. A name that policy refuses does not exist for it: "refused"
// would make the C library ask again, and tell of a failure that passes.
func answered(response *guestv1.ResolveResponse, ipv6 bool) found {
	switch response.Failure {
	case guestv1.ResolveFailure_RESOLVE_FAILURE_UNSPECIFIED:
	case guestv1.ResolveFailure_RESOLVE_FAILURE_NOT_FOUND:
		return found{code: dnsmessage.RCodeNameError}
	case guestv1.ResolveFailure_RESOLVE_FAILURE_REFUSED:
		return found{code: dnsmessage.RCodeNameError, prohibited: true}
	default:
		return found{code: dnsmessage.RCodeServerFailure}
	}
	f := found{ttl: min(response.TtlSeconds, maxTTLSeconds)}
	for _, bytes := range response.Addresses {
		if address, ok := netip.AddrFromSlice(bytes); ok && address.Is4() != ipv6 {
			f.addresses = append(f.addresses, address)
		}
	}
	return f
}

// asked is one question.
type asked struct {
	name string
	ipv6 bool
}

type cached struct {
	found
	until time.Time
}

// cache remembers answers as long as they are good. They are of one host alone: the next one has not heard the questions,
// and would not know which name led to an address.
type cache struct {
	mu   sync.Mutex
	host *call.Peer
	kept map[asked]cached
}

func (c *cache) get(host *call.Peer, key asked, now time.Time) (found, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.host != host {
		return found{}, false
	}
	known, ok := c.kept[key]
	left := known.until.Sub(now)
	if !ok || left < time.Second {
		return found{}, false
	}
	f := known.found
	f.ttl = uint32(left / time.Second)
	return f, true
}

func (c *cache) put(host *call.Peer, key asked, f found, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.host != host || len(c.kept) >= maxCachedNames {
		c.host, c.kept = host, make(map[asked]cached)
	}
	c.kept[key] = cached{f, now.Add(time.Duration(f.ttl) * time.Second)}
}

// clear forgets everything.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.host, c.kept = nil, nil
}

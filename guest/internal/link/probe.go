package link

import (
	"context"
	"sync"
)

// probeCount counts what arrives on the probe channel.
type probeCount struct {
	mu      *sync.Mutex
	bytes   uint64
	wanted  uint64
	reached chan struct{}
}

func newProbeCount() probeCount {
	return probeCount{mu: new(sync.Mutex), reached: make(chan struct{}, 1)}
}

func (p *probeCount) reset() {
	p.mu.Lock()
	p.bytes = 0
	p.mu.Unlock()
}

func (p *probeCount) add(n uint64) {
	p.mu.Lock()
	p.bytes += n
	if p.wanted > 0 && p.bytes >= p.wanted {
		p.wanted = 0
		select {
		case p.reached <- struct{}{}:
		default:
		}
	}
	p.mu.Unlock()
}

// drain has one caller at a time; a second one would only wait for its context.
func (p *probeCount) drain(ctx context.Context, expect uint64) (uint64, error) {
	for {
		p.mu.Lock()
		if p.bytes >= expect {
			n := p.bytes
			p.bytes = 0
			p.mu.Unlock()
			return n, nil
		}
		p.wanted = expect
		p.mu.Unlock()
		select {
		case <-p.reached:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

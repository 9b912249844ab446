package network

import "bytes"

const (
	resolvConfPath = "/etc/resolv.conf"
	// What an environment has that brings no name server: nobody answers there, and refuses at once.
	noResolver = "nameserver 127.0.0.1\n"
)

var resolvConf = []byte("# The host resolves names, by the network policy of this machine.\nnameserver " + resolverIPv4.String() + "\n")

// outside is all that leads to the gateway.
type outside struct {
	options Options
	ways    *ways
	capture *capture
	names   *names
	// The resolv.conf that was there before.
	before []byte
}

// openOutside begins to capture; the ways come when there is somebody at their end.
func (s *Service) openOutside() (_ *outside, err error) {
	o := &outside{options: s.options, before: []byte(noResolver)}
	defer func() {
		if err != nil {
			_ = o.close()
		}
	}()
	if o.capture, err = startCapture(s.options.Log, s.options.Commands, s.connect); err != nil {
		return nil, err
	}
	if o.ways, err = newWays(s.options.Log); err != nil {
		return nil, err
	}
	if err := o.ways.open(); err != nil {
		return nil, err
	}
	if o.names, err = startNames(s.options.Log, s.resolve); err != nil {
		return nil, err
	}
	o.nameResolver()
	return o, nil
}

// repair makes anew what root in the machine may have taken away.
func (o *outside) repair() error {
	o.nameResolver()
	return o.ways.open()
}

func (o *outside) nameResolver() {
	o.options.rewriteResolver(func(old []byte) []byte {
		if len(bytes.TrimSpace(old)) > 0 && !bytes.Equal(old, resolvConf) {
			o.before = bytes.Clone(old)
		}
		return resolvConf
	})
}

// forgetResolver puts back what was there, unless somebody has changed it since.
func (o Options) forgetResolver(before []byte) {
	o.rewriteResolver(func(old []byte) []byte {
		if bytes.Equal(old, resolvConf) {
			return before
		}
		return old
	})
}

// rewriteResolver only tells of a failure: a full or odd disk must not keep the machine from being used.
func (o Options) rewriteResolver(change func(old []byte) []byte) {
	if err := o.Rewrite(resolvConfPath, change); err != nil {
		o.Log.Printf("name the resolver: %v", err)
	}
}

// close resets what is open, and takes everything away.
func (o *outside) close() error {
	o.options.forgetResolver(o.before)
	if o.capture != nil {
		o.capture.close()
	}
	if o.names != nil {
		o.names.close()
	}
	if o.ways != nil {
		return o.ways.close()
	}
	return nil
}

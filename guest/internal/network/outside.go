package network

import (
	"bytes"
	"errors"
)

const (
	resolvConfPath = "/etc/resolv.conf"
	// What an environment has that brings no name server: nobody answers there, and refuses at once.
	noResolver = "nameserver 127.0.0.1\n"
)

var resolvConf = []byte("# The host resolves names, by the network policy of this machine.\nnameserver " + resolverIPv4.String() + "\n")

// outside is all that leads to the gateway.
type outside struct {
	rewrite func(path string, change func(old []byte) []byte) error
	ways    *ways
	capture *capture
	names   *names
	// The resolv.conf that was there before.
	before []byte
}

// openOutside begins to capture; the ways come when there is somebody at their end.
func (s *Service) openOutside() (_ *outside, err error) {
	o := &outside{rewrite: s.options.Rewrite, before: []byte(noResolver)}
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
	return o, o.nameResolver()
}

// repair makes anew what root in the machine may have taken away.
func (o *outside) repair() error { return errors.Join(o.ways.open(), o.nameResolver()) }

func (o *outside) nameResolver() error {
	return o.rewrite(resolvConfPath, func(old []byte) []byte {
		if len(bytes.TrimSpace(old)) > 0 && !bytes.Equal(old, resolvConf) {
			o.before = bytes.Clone(old)
		}
		return resolvConf
	})
}

// forgetResolver puts back what was there, unless somebody has changed it since.
func forgetResolver(rewrite func(string, func([]byte) []byte) error, before []byte) error {
	return rewrite(resolvConfPath, func(old []byte) []byte {
		if bytes.Equal(old, resolvConf) {
			return before
		}
		return old
	})
}

// close resets what is open, and takes everything away.
func (o *outside) close() error {
	failures := []error{forgetResolver(o.rewrite, o.before)}
	if o.capture != nil {
		o.capture.close()
	}
	if o.names != nil {
		o.names.close()
	}
	if o.ways != nil {
		failures = append(failures, o.ways.close())
	}
	return errors.Join(failures...)
}

package network

import (
	"bytes"
	"errors"
	"io/fs"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// What programs of all kinds take for a comment: of sources, settings and certificates.
const (
	ownFile    = "# From the host, by pyro: written at each start with a network, and taken away without. Without this line the file is yours.\n"
	blockBegin = "# From the host, by pyro: begin\n"
	blockEnd   = "# From the host, by pyro: end\n"
)

// provide writes what the host hands on with its network, and takes back what it does not. A full or odd disk must not keep
// the machine from being used, so a failure is only told; a file whose directory is missing has nobody who would read it.
func (o Options) provide(request *guestv1.ConfigureNetworkRequest) {
	o.SetDefaults(request.Environment)
	for _, file := range request.Files {
		err := o.Rewrite(file.Path, func(old []byte) []byte { return provided(old, file) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			o.Log.Printf("write %s from the host: %v", file.Path, err)
		}
	}
}

// WithoutHost is what a file of a disk holds without what machines were given of their host; nil is no file.
func WithoutHost(old []byte, path string, appended bool) []byte {
	return provided(old, &guestv1.ProvidedFile{Path: path, Appended: appended})
}

// WithoutResolver is what the file of name servers holds of an environment: nothing where it is this agent's.
func WithoutResolver(old []byte) []byte {
	if string(old) == noResolver || bytes.Equal(old, resolvConf) {
		return []byte{}
	}
	return old
}

// provided is what a file holds then; nil, as for old, is no file.
func provided(old []byte, file *guestv1.ProvidedFile) []byte {
	if file.Appended {
		if old == nil {
			return nil
		}
		return withBlock(old, file.Content)
	}
	if old != nil && !bytes.HasPrefix(old, []byte(ownFile)) {
		return old
	}
	if len(file.Content) == 0 {
		return nil
	}
	return append([]byte(ownFile), file.Content...)
}

// withBlock has the block at its end, and none anywhere else; an empty one is left out.
func withBlock(old, block []byte) []byte {
	before, rest, found := bytes.Cut(old, []byte(blockBegin))
	content := bytes.Clone(before)
	for found {
		// Without an end, only the line itself is known to be ours.
		if _, after, ends := bytes.Cut(rest, []byte(blockEnd)); ends {
			rest = after
		}
		before, rest, found = bytes.Cut(rest, []byte(blockBegin))
		content = append(content, before...)
	}
	if len(block) == 0 {
		return content
	}
	if len(content) > 0 && content[len(content)-1] != '\n' {
		content = append(content, '\n')
	}
	content = append(content, blockBegin...)
	content = append(content, block...)
	return append(content, blockEnd...)
}

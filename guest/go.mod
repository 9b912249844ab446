module pyro/guest

go 1.26.0

require (
	github.com/klauspost/compress v1.20.3
	github.com/vishvananda/netlink v1.3.1
	golang.org/x/net v0.62.0
	golang.org/x/sys v0.49.0
	google.golang.org/protobuf v1.36.12
)

require github.com/vishvananda/netns v0.0.5 // indirect

tool google.golang.org/protobuf/cmd/protoc-gen-go

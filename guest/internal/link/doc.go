// Package link is the agent's side of the framed link (proto/LINK.md): it makes of the one lossy byte pipe between
// host and guest several channels of whole packets, and starts anew with each connection of the host.
//
// Invariants:
//   - the goroutine that reads the port never writes to it and never waits for a receiver of packets;
//   - a write belongs to one frame, frames are sent whole, and the channels of smaller number go first;
//   - after HELLO of an epoch was answered, no byte of an older epoch is sent.
package link

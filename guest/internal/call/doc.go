// Package call carries the services of the wire over the channels of the link: calls with messages in both directions,
// bounded by credit (proto/LINK.md, Calls).
//
// Invariants:
//   - Deliver never waits and never sends: it runs in the goroutine that reads the port;
//   - what a call holds unread is bounded, whatever the peer does;
//   - a call that has ended leaves nothing behind, and what still comes for it is dropped.
package call

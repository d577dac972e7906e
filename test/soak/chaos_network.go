package soak

import (
	"context"
	"math/rand/v2"
	"time"
)

func (c *chaos) onNetwork() []disturbance {
	of := func(s *side) func(*rand.Rand) *proxy {
		all := append(s.members(), s.sentinels...)
		return func(rnd *rand.Rand) *proxy { return all[rnd.IntN(len(all))].proxy }
	}
	// Small numbers of bytes hit handshakes, large ones the middle of batches;
	// there are few bytes of answers and acknowledgements.
	cut := func(name string, s *side, d direction, magnitude int) disturbance {
		pick := of(s)
		return disturbance{name, 16, func(_ context.Context, rnd *rand.Rand) error {
			if pick(rnd).cutAfter(d, rnd.Int64N(1<<rnd.IntN(magnitude))) == 0 {
				return errSkipped
			}
			return nil
		}}
	}
	refuse := func(name string, s *side) disturbance {
		pick := of(s)
		return disturbance{name, 4, func(_ context.Context, rnd *rand.Rand) error {
			if pick(rnd).refuse(between(50*time.Millisecond, 3*time.Second)(rnd)) == 0 {
				return errSkipped
			}
			return nil
		}}
	}
	away := func(name string, s *side) disturbance {
		return disturbance{name, 3, func(ctx context.Context, rnd *rand.Rand) error {
			d := between(200*time.Millisecond, 4*time.Second)(rnd)
			for _, m := range append(s.members(), s.sentinels...) {
				m.proxy.refuse(d)
			}
			pause(ctx, d)
			return nil
		}}
	}
	stall := func(name string, s *side) disturbance {
		return disturbance{name, 4, func(ctx context.Context, rnd *rand.Rand) error {
			d := direction(rnd.IntN(2))
			for _, m := range s.members() {
				defer m.proxy.hold(d)()
			}
			pause(ctx, between(200*time.Millisecond, 4*time.Second)(rnd))
			return nil
		}}
	}
	return []disturbance{
		cut("connection cut, from the source", c.source, toClient, 16),
		cut("connection cut, to the source", c.source, toServer, 9),
		cut("connection cut, from the target", c.target, toClient, 12),
		cut("connection cut, to the target", c.target, toServer, 16),
		refuse("one server of the source unreachable", c.source),
		refuse("one server of the target unreachable", c.target),
		away("the whole source unreachable", c.source),
		away("the whole target unreachable", c.target),
		stall("the source's network stands still", c.source),
		stall("the target's network stands still", c.target),
	}
}

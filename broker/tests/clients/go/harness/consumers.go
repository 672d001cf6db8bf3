package harness

import (
	"fmt"
	"io"
	"os"
)

// ConsumerCases are the cases of groups for a library that joins them by the newer protocol (KIP-848).
func ConsumerCases(w *World) []Case {
	return casesOfGroups(w, map[string]func(*groupCase) error{
		"consumer-group/share":  (*groupCase).share,
		"consumer-group/commit": (*groupCase).commit,
		"consumer-group/admin":  (*groupCase).administer,
	})
}

// SurviveCases is one case: it prints a line when the broker may be killed, and goes on when its input is
// closed.
func SurviveCases(w *World) []Case {
	return casesOfGroups(w, map[string]func(*groupCase) error{
		"consumer-group/survive": (*groupCase).survive,
	})
}

// survive: members, their partitions and what they committed outlive the broker.
func (g *groupCase) survive() error {
	ctx, cancel := Deadline(4 * groupLimit)
	defer cancel()
	everything := func() map[int32]Commit {
		out := map[int32]Commit{}
		for p := range int32(groupPartitions) {
			out[p] = Commit{Offset: g.written}
		}
		return out
	}
	settled := func(members ...*Member) func() error {
		return func() error {
			var all []Member
			for _, m := range members {
				all = append(all, *m)
			}
			_, err := settle(all...)
			return err
		}
	}
	var a, b, c, d Member
	var first int64
	return steps(
		g.joined(&a, false),
		g.joined(&b, false),
		settled(&a, &b),
		func() error { return g.deliver(at(0), a, b) },
		func() error { return a.Commit(ctx, everything()) },
		untilKilled,
		g.fill,
		func() error { return g.deliver(at(0), a, b) },
		settled(&a, &b),
		g.joined(&c, false),
		settled(&a, &b, &c),
		func() error { return c.Commit(ctx, everything()) },
		func() error { return a.Leave() },
		func() error { return b.Leave() },
		func() error { return c.Leave() },
		func() error { first = g.written; return g.fill() },
		g.joined(&d, false),
		func() error { return g.deliver(at(first), d) },
		func() error { return notBefore(d, at(first)) },
		func() error { return d.Leave() },
	)
}

func untilKilled() error {
	fmt.Println(`{"progress": 1}`)
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

package harness

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// groupPartitions is more than there are members, so that every one owns several.
	groupPartitions = 6
	// perRound is what one fill adds to a partition.
	perRound = 5
	// groupLimit bounds a rebalance, and reading what must be there.
	groupLimit = 30 * time.Second
	// groupDelayed is the case whose records are dated ahead.
	groupDelayed = "group/delayed"
	// GroupHeartbeat is how soon a member hears of a rebalance, instead of after 3 s.
	GroupHeartbeat = 100 * time.Millisecond
)

type (
	// Joiner opens a member of a group that reads a topic, from its start where nothing is committed.
	Joiner interface {
		Join(group, topic string, autoCommit bool) (Member, error)
	}
	// GroupAdmin is what an admin client offers of groups.
	GroupAdmin interface {
		Groups(ctx context.Context) ([]string, error)
		// DescribeGroup gives the state and the number of members.
		DescribeGroup(ctx context.Context, group string) (string, int, error)
		DeleteGroup(ctx context.Context, group string) error
		// Committed gives what is committed of a topic.
		Committed(ctx context.Context, group, topic string, partitions []int32) (map[int32]Commit, error)
	}
	// Member reads in the background; its embedded Log says what it was given.
	Member interface {
		log() *Log
		// Commit commits these and waits for the answer.
		Commit(ctx context.Context, offsets map[int32]Commit) error
		Leave() error
	}
	// Commit is a committed offset; Text is "" where the library does not offer it.
	Commit struct {
		Offset int64
		Text   string
	}
	// Log is what a member owns and has taken so far.
	Log struct {
		mutex   sync.Mutex
		session int
		owned   map[int32]bool
		taken   []taken
		failed  error
	}
	// taken is a record, and in which of its member's assignments it came.
	taken struct {
		session   int
		partition int32
		offset    int64
	}
)

func (l *Log) log() *Log { return l }

// Assigned notes partitions that come to those owned.
func (l *Log) Assigned(partitions ...int32) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.session++
	if l.owned == nil {
		l.owned = map[int32]bool{}
	}
	for _, p := range partitions {
		l.owned[p] = true
	}
}

// Revoked notes partitions that are owned no longer.
func (l *Log) Revoked(partitions ...int32) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, p := range partitions {
		delete(l.owned, p)
	}
}

// Take notes a record.
func (l *Log) Take(partition int32, offset int64) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.taken = append(l.taken, taken{l.session, partition, offset})
}

// Fail notes an error that ends the member.
func (l *Log) Fail(err error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.failed = err
}

func (l *Log) now() ([]int32, []taken, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return slices.Sorted(maps.Keys(l.owned)), slices.Clone(l.taken), l.failed
}

// groupCases are those of the mode groups; a library without an admin API for groups has none.
func groupCases(w *World) []Case {
	return casesOfGroups(w, map[string]func(*groupCase) error{
		"group/share":  (*groupCase).share,
		"group/commit": (*groupCase).commit,
		"group/admin":  (*groupCase).administer,
		groupDelayed:   (*groupCase).delayed,
	})
}

func casesOfGroups(w *World, runs map[string]func(*groupCase) error) (out []Case) {
	joiner, joins := w.Client.(Joiner)
	admin, administers := w.Client.(GroupAdmin)
	if !joins || !administers {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(runs)) {
		out = append(out, Case{name, func() (string, error) {
			g := &groupCase{World: w, join: joiner, admin: admin}
			g.topic = w.Topic(strings.ReplaceAll(name, "/", "-"))
			var settings map[string]string
			if name == groupDelayed && !w.Settle { // Apache Kafka has no delays
				settings, g.ahead = map[string]string{"delay.mode": "timestamp"}, delay
			}
			if err := w.MakeTopic(g.topic, groupPartitions, settings); err != nil {
				return "", err
			}
			if err := g.fill(); err != nil {
				return "", err
			}
			return "", runs[name](g)
		}})
	}
	return out
}

// groupCase has a topic, and a group of the same name.
type groupCase struct {
	*World
	join  Joiner
	admin GroupAdmin
	topic string
	// written counts the records of each partition.
	written int64
	// ahead is how far in the future they are dated, due what that was for the last fill, in ms.
	ahead time.Duration
	due   int64
}

func (g *groupCase) fill() error {
	var records []Record
	g.due = time.Now().Add(g.ahead).UnixMilli()
	for i := range groupPartitions * perRound {
		records = append(records, Record{
			Value: []byte(strconv.Itoa(i)), Timestamp: g.due, Partition: int32(i % groupPartitions),
		})
	}
	_, err := g.Produce(g.topic, records, "none", "acks=all")
	g.written += perRound
	return err
}

// until waits for what the members do by themselves.
func until(what string, members []Member, done func() bool) error {
	for end := time.Now().Add(groupLimit); !done(); time.Sleep(pause / 5) {
		var all [][]int32
		for _, m := range members {
			owned, _, err := m.log().now()
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			all = append(all, owned)
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %v; owned are %v", what, groupLimit, all)
		}
	}
	return nil
}

// settle waits until every partition has one owner and every member some; gives the owners.
func settle(members ...Member) (map[int32]Member, error) {
	owners := map[int32]Member{}
	err := until("settled", members, func() bool {
		clear(owners)
		count := 0
		for _, m := range members {
			owned, _, _ := m.log().now()
			for _, p := range owned {
				owners[p] = m
			}
			if len(owned) == 0 {
				return false
			}
			count += len(owned)
		}
		return count == groupPartitions && len(owners) == groupPartitions
	})
	return owners, err
}

// deliver waits until somebody took each record from these offsets on.
func (g *groupCase) deliver(from func(partition int32) int64, members ...Member) error {
	return until("delivered", members, func() bool {
		seen := map[[2]int64]bool{}
		for _, m := range members {
			_, got, _ := m.log().now()
			for _, t := range got {
				seen[[2]int64{int64(t.partition), t.offset}] = true
			}
		}
		for p := range int32(groupPartitions) {
			for offset := from(p); offset < g.written; offset++ {
				if !seen[[2]int64{int64(p), offset}] {
					return false
				}
			}
		}
		return true
	})
}

// at is the same offset in every partition.
func at(offset int64) func(int32) int64 { return func(int32) int64 { return offset } }

// ordered: between two assignments a member takes each partition without gap or step back.
func ordered(members ...Member) error {
	for _, m := range members {
		last := map[[2]int64]int64{}
		_, got, _ := m.log().now()
		for _, t := range got {
			key := [2]int64{int64(t.session), int64(t.partition)}
			if before, known := last[key]; known && t.offset != before+1 {
				return fmt.Errorf("partition %d: %d after %d", t.partition, t.offset, before)
			}
			last[key] = t.offset
		}
	}
	return nil
}

// steps runs them in order up to the first that fails.
func steps(all ...func() error) error {
	for _, step := range all {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (g *groupCase) joined(to *Member, autoCommit bool) func() error {
	return func() (err error) {
		*to, err = g.join.Join(g.topic, g.topic, autoCommit)
		return err
	}
}

// share: members come and go; they commit as their library does by itself.
func (g *groupCase) share() error {
	var a, b, c, d Member
	var owners map[int32]Member
	var first int64
	return steps(
		g.joined(&a, true), g.joined(&b, true),
		func() (err error) { _, err = settle(a, b); return err },
		g.fill,
		func() error { return g.deliver(at(0), a, b) },
		g.joined(&c, true), g.fill,
		func() (err error) { _, err = settle(a, b, c); return err },
		func() error { return g.deliver(at(0), a, b, c) },
		func() error { return b.Leave() }, g.fill,
		func() (err error) { owners, err = settle(a, c); return err },
		func() error { return g.deliver(at(0), a, b, c) },
		func() error { first = g.written; return g.fill() },
		func() error { return g.deliver(at(first), a, c) },
		func() error { return strays(owners, first, a, c) },
		func() error { return ordered(a, b, c) },
		func() error { return a.Leave() }, func() error { return c.Leave() },
		func() error { first = g.written; return g.fill() },
		g.joined(&d, true),
		func() error { return g.deliver(at(first), d) },
		func() error { return ordered(d) },
		func() error { return notBefore(d, at(first)) },
		func() error { return d.Leave() },
	)
}

// strays: what was produced to a settled group comes to the owners alone.
func strays(owners map[int32]Member, first int64, members ...Member) error {
	for _, m := range members {
		_, got, _ := m.log().now()
		for _, t := range got {
			if t.offset >= first && owners[t.partition] != m {
				return fmt.Errorf("%d of partition %d came to a member that does not own it", t.offset, t.partition)
			}
		}
	}
	return nil
}

// notBefore: a member took nothing before these offsets.
func notBefore(m Member, first func(partition int32) int64) error {
	_, got, _ := m.log().now()
	for _, t := range got {
		if t.offset < first(t.partition) {
			return fmt.Errorf("%d of partition %d was committed and came again", t.offset, t.partition)
		}
	}
	return nil
}

// commit: a new member goes on exactly where the last one committed.
func (g *groupCase) commit() error {
	ctx, cancel := Deadline(groupLimit)
	defer cancel()
	texts := g.Traits().CommitTexts
	due, partitions := map[int32]Commit{}, []int32{}
	for p := range int32(groupPartitions) {
		due[p] = Commit{Offset: int64(p % perRound)}
		if texts && p > 0 {
			due[p] = Commit{due[p].Offset, fmt.Sprintf("read to %d été ✓", p)}
		}
		partitions = append(partitions, p)
	}
	var a, b Member
	return steps(
		g.joined(&a, false),
		func() error { return g.deliver(at(0), a) },
		func() error { return a.Commit(ctx, due) },
		func() error {
			seen, err := g.admin.Committed(ctx, g.topic, g.topic, partitions)
			if err != nil {
				return err
			}
			return Wants(maps.Equal(seen, due), "committed is %v, sent was %v", seen, due)
		},
		func() error { return a.Leave() },
		g.joined(&b, false),
		func() error { return g.deliver(func(p int32) int64 { return due[p].Offset }, b) },
		func() error { return notBefore(b, func(p int32) int64 { return due[p].Offset }) },
		func() error { return b.Leave() },
	)
}

// administer: a group is described and listed, and deleted once nobody is left in it.
func (g *groupCase) administer() error {
	ctx, cancel := Deadline(groupLimit)
	defer cancel()
	var a Member
	return steps(
		g.joined(&a, false),
		func() error { return g.deliver(at(0), a) },
		func() error { return a.Commit(ctx, map[int32]Commit{0: {Offset: 1}}) },
		func() error { return g.described(ctx, "Stable", 1) },
		func() error { return g.listed(ctx, true) },
		func() error { return g.deleted(ctx, "deleted alive", NonEmptyGroup) },
		func() error { return a.Leave() },
		func() error { return g.described(ctx, "Empty", 0) },
		func() error { return g.listed(ctx, true) },
		func() error { return g.deleted(ctx, "deleted", 0) },
		func() error { return g.listed(ctx, g.Traits().KeepsGroups) },
		func() error { return g.deleted(ctx, "deleted again", GroupIDNotFound) },
	)
}

// deleted asks for the group to be deleted, where the library can.
func (g *groupCase) deleted(ctx context.Context, what string, code int16) error {
	if g.Traits().KeepsGroups {
		return nil
	}
	return g.Due(what, g.admin.DeleteGroup(ctx, g.topic), code)
}

func (g *groupCase) described(ctx context.Context, state string, members int) error {
	seen, count, err := g.admin.DescribeGroup(ctx, g.topic)
	if err != nil {
		return err
	}
	return Wants(seen == state && count == members, "%s with %d members, due are %s, %d", seen, count, state, members)
}

func (g *groupCase) listed(ctx context.Context, due bool) error {
	seen, err := g.admin.Groups(ctx)
	if err != nil {
		return err
	}
	return Wants(slices.Contains(seen, g.topic) == due, "the group is listed: %v", !due)
}

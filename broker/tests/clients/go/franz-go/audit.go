package main

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"tidewheel.invalid/clients/harness"
)

// generation is a record of the group: who got what.
type generation struct {
	number int32
	owners map[int32]string
}

// audit is all that was written down about one group.
type audit struct {
	world *world
	// Members join by the newer protocol.
	newer    bool
	group    string
	topic    string
	ends     []int64
	observed []event
	members  map[string][]event
	// What __consumer_offsets holds, in its order.
	committed   map[int32][]int64
	generations []generation
	reconciled  []reconciled
	deleted     int
}

// auditCases compares what members and the observer wrote down, the log of the topic, and what
// __consumer_offsets holds: audit ASSIGNOR GROUP TOPIC PARTITIONS OBSERVER MEMBER...
func auditCases(w *world, args []string) ([]harness.Case, error) {
	if len(args) < 6 {
		return nil, errors.New("audit needs ASSIGNOR GROUP TOPIC PARTITIONS OBSERVER MEMBER...")
	}
	a := &audit{
		world: w, newer: args[0] == byNewer, group: args[1], topic: args[2],
		members: map[string][]event{}, committed: map[int32][]int64{},
	}
	partitions, err := strconv.Atoi(args[3])
	if err != nil {
		return nil, err
	}
	if a.ends, err = w.Ends(a.topic, int32(partitions)); err != nil {
		return nil, err
	}
	if a.observed, err = readJournal(args[4]); err != nil {
		return nil, err
	}
	for _, path := range args[5:] {
		if a.members[path], err = readJournal(path); err != nil {
			return nil, err
		}
	}
	if err := a.readOffsetsTopic(); err != nil {
		return nil, err
	}
	return a.cases(), nil
}

func (a *audit) cases() []harness.Case {
	return []harness.Case{
		{"audit/delivered", a.delivered}, {"audit/order", a.order}, {"audit/commits", a.commits},
		{"audit/offsets-topic", a.offsetsTopic}, {"audit/owners", a.owners},
		{"audit/one-at-a-time", a.oneAtATime},
	}
}

// readOffsetsTopic reads the records of the group, as a monitor of lags does.
func (a *audit) readOffsetsTopic() error {
	const topic = "__consumer_offsets"
	ctx, cancel := harness.Deadline(2 * harness.ReadTimeout)
	defer cancel()
	ends, err := a.world.client.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	for p, end := range ends[topic] {
		if end.Offset > 0 {
			from[p], left[p] = kgo.NewOffset().AtStart(), end.Offset
		}
	}
	own, err := kgo.NewClient(
		kgo.SeedBrokers(a.world.Bootstrap), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return err
	}
	defer own.Close()
	for len(left) > 0 {
		fetches := own.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("%s: %w", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if err == nil {
				err = a.takeRecord(r)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *audit) takeRecord(r *kgo.Record) error {
	var commit kmsg.OffsetCommitKey
	if err := commit.ReadFrom(r.Key); err == nil && commit.Version < 2 {
		if commit.Group != a.group || commit.Topic != a.topic {
			return nil
		}
		if r.Value == nil {
			a.deleted++
			return nil
		}
		var value kmsg.OffsetCommitValue
		if err := value.ReadFrom(r.Value); err != nil {
			return fmt.Errorf("offset %d: %w", r.Offset, err)
		}
		a.committed[commit.Partition] = append(a.committed[commit.Partition], value.Offset)
		return nil
	}
	if its, err := a.takeNewer(r); its || err != nil {
		return err
	}
	var group kmsg.GroupMetadataKey
	if err := group.ReadFrom(r.Key); err != nil || group.Group != a.group || r.Value == nil {
		return err
	}
	var value kmsg.GroupMetadataValue
	if err := value.ReadFrom(r.Value); err != nil {
		return fmt.Errorf("offset %d: %w", r.Offset, err)
	}
	owners := map[int32]string{}
	for _, m := range value.Members {
		if len(m.Assignment) == 0 {
			continue
		}
		var assignment kmsg.ConsumerMemberAssignment
		if err := assignment.ReadFrom(m.Assignment); err != nil {
			return fmt.Errorf("offset %d: assignment of %s: %w", r.Offset, m.MemberID, err)
		}
		for _, t := range assignment.Topics {
			for _, p := range t.Partitions {
				if other, taken := owners[p]; taken {
					return fmt.Errorf("generation %d gives %d to %s and %s", value.Generation, p, other, m.MemberID)
				}
				owners[p] = m.MemberID
			}
		}
	}
	a.generations = append(a.generations, generation{value.Generation, owners})
	return nil
}

// delivered: every record of the topic was taken by some member.
func (a *audit) delivered() (string, error) {
	taken, again := make([][]bool, len(a.ends)), 0
	for p, end := range a.ends {
		taken[p] = make([]bool, end)
	}
	for path, events := range a.members {
		for _, e := range events {
			if e.word != "take" {
				continue
			}
			for offset := e.first; offset <= e.last; offset++ {
				if offset >= a.ends[e.partitions[0]] {
					return "", fmt.Errorf("%s took %d of %d, which is not there", path, offset, e.partitions[0])
				}
				if taken[e.partitions[0]][offset] {
					again++
				}
				taken[e.partitions[0]][offset] = true
			}
		}
	}
	total, dropped := 0, a.droppable()
	for p := range taken {
		for offset, was := range taken[p] {
			if !was && !dropped.take(place{int32(p), int64(offset)}) {
				return "", fmt.Errorf("partition %d: %d of %d came to nobody", p, offset, a.ends[p])
			}
		}
		total += len(taken[p])
	}
	return fmt.Sprintf("%d records, %d again, %d dropped by kcat", total, again, dropped.count), nil
}

type place struct {
	partition int32
	offset    int64
}

// keptPlaces is where a member goes on that keeps its places, given partitions of which it has left some and taken from
// some since.
func keptPlaces(given []int32, left, taken map[int32]int64) map[int32]int64 {
	out := map[int32]int64{}
	for _, p := range given {
		if at, had := left[p]; had {
			out[p] = at
		}
		if at, had := taken[p]; had {
			out[p] = at
		}
	}
	return out
}

// drops are the records that kcat may have dropped.
type drops struct {
	by    map[place]string
	spent map[string]bool
	count int
}

// droppable: told to end, kcat throws a record away that its library has just handed over and counts as taken, which
// is then committed (consume_cb in kcat.c begins with `if (!conf.run) return`). So of each of its members one record
// may be missing, that behind the last one which it wrote of a partition.
func (a *audit) droppable() *drops {
	out := &drops{map[place]string{}, map[string]bool{}, 0}
	for path, events := range a.members {
		if !isMemberOf("kcat", path) {
			continue
		}
		for p, next := range ends(events) {
			out.by[place{p, next}] = path
		}
	}
	return out
}

func (d *drops) take(missing place) bool {
	path, may := d.by[missing]
	if !may || d.spent[path] {
		return false
	}
	d.spent[path] = true
	d.count++
	return true
}

// ends are the offsets behind the last records that a member took.
func ends(events []event) map[int32]int64 {
	out := map[int32]int64{}
	for _, e := range events {
		if e.word == "take" {
			out[e.partitions[0]] = e.last + 1
		}
	}
	return out
}

// isMemberOf: journals are named CLIENT-NUMBER.
func isMemberOf(client, path string) bool {
	name, _ := strings.CutPrefix(filepath.Base(path), client+"-")
	_, err := strconv.Atoi(name)
	return err == nil
}

// acknowledged are the commits of all members by the time of their answers.
func (a *audit) acknowledged() map[int32][]event {
	out := map[int32][]event{}
	for _, events := range a.members {
		for _, e := range events {
			if e.word == "ok" {
				out[e.partitions[0]] = append(out[e.partitions[0]], e)
			}
		}
	}
	for _, oks := range out {
		slices.SortFunc(oks, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	}
	return out
}

// least is the offset that must be committed at a time: the highest acknowledged before it.
func least(oks []event, at int64) int64 {
	out := int64(-1)
	for _, ok := range oks {
		if ok.at >= at {
			break
		}
		out = max(out, ok.first)
	}
	return out
}

// order: an owner begins where it was committed, not before, and takes record after record.
func (a *audit) order() (string, error) {
	acknowledged, sessions := a.acknowledged(), 0
	for path, events := range a.members {
		given, next, left := map[int32]int64{}, map[int32]int64{}, map[int32]int64{}
		// What is given again at once it goes on with where it left off, also where that was not committed: its
		// assign_from_subscribed keeps the positions of partitions that were there before.
		keepsPlaces := isMemberOf("kafka-python", path)
		for _, e := range events {
			switch e.word {
			case "assigned":
				sessions++
				if keepsPlaces {
					left, next = keptPlaces(e.partitions, left, next), map[int32]int64{}
				}
				for _, p := range e.partitions {
					given[p] = e.at
					delete(next, p)
				}
			case "revoked", "lost":
				for _, p := range e.partitions {
					delete(given, p)
				}
			case "take":
				p := e.partitions[0]
				since, owns := given[p]
				if !owns {
					return "", fmt.Errorf("%s took %d of %d, which it does not own", path, e.first, p)
				}
				due, goesOn := next[p]
				if goesOn && e.first != due {
					return "", fmt.Errorf("%s took %d of %d after %d", path, e.first, p, due-1)
				}
				if from := least(acknowledged[p], since); !goesOn && e.first < from {
					return "", fmt.Errorf("%s began with %d of %d, where %d was committed", path, e.first, p, from)
				}
				at, kept := left[p]
				begun := e.first == 0 || slices.Contains(a.committed[p], e.first) || kept && at == e.first
				if !goesOn && !begun {
					return "", fmt.Errorf("%s began with %d of %d, which nobody committed", path, e.first, p)
				}
				next[p] = e.last + 1
			}
		}
	}
	return fmt.Sprintf("%d assignments of %d members", sessions, len(a.members)), nil
}

// commits: what OffsetFetch answers never goes back, and holds what was acknowledged before.
func (a *audit) commits() (string, error) {
	acknowledged, last := a.acknowledged(), map[int32]int64{}
	next, floor := map[int32]int{}, map[int32]int64{}
	for _, e := range a.observed {
		p := e.partitions[0]
		if before, known := last[p]; known && e.first < before {
			return "", fmt.Errorf("partition %d: %d is committed after %d", p, e.first, before)
		}
		last[p] = e.first
		for oks := acknowledged[p]; next[p] < len(oks) && oks[next[p]].at < e.at; next[p]++ {
			floor[p] = max(floor[p], oks[next[p]].first)
		}
		if due, known := floor[p]; known && e.first < due {
			return "", fmt.Errorf("partition %d: %d is committed, %d was acknowledged before", p, e.first, due)
		}
	}
	for p, end := range a.ends {
		if at := last[int32(p)]; at != end {
			return "", fmt.Errorf("partition %d: at last %d of %d is committed", p, at, end)
		}
	}
	count := 0
	for _, oks := range acknowledged {
		count += len(oks)
	}
	return fmt.Sprintf("%d commits acknowledged, %d looks", count, len(a.observed)/len(a.ends)), nil
}

// offsetsTopic: the records say the same.
func (a *audit) offsetsTopic() (string, error) {
	if a.deleted > 0 {
		return "", fmt.Errorf("%d offsets were deleted", a.deleted)
	}
	count := 0
	for p, oks := range a.acknowledged() {
		records := a.committed[p]
		if !slices.IsSorted(records) {
			return "", fmt.Errorf("partition %d: commits go back: %v", p, records)
		}
		for _, ok := range oks {
			if _, found := slices.BinarySearch(records, ok.first); !found {
				return "", fmt.Errorf("partition %d: the acknowledged commit of %d is not there", p, ok.first)
			}
		}
		count += len(records)
	}
	return fmt.Sprintf("%d commits, %d generations", count, len(a.generations)), nil
}

// owners: generations grow, none gives a partition twice (seen when it was read), and members are given
// what theirs says.
func (a *audit) owners() (string, error) {
	if a.newer {
		return a.reconciledOwners()
	}
	if len(a.reconciled) > 0 {
		return "", errors.New("the group has been one of the newer protocol")
	}
	byNumber, last := map[int32]generation{}, int32(-1)
	for _, g := range a.generations {
		if g.number < last {
			return "", fmt.Errorf("generation %d comes after %d", g.number, last)
		}
		if before, known := byNumber[g.number]; known {
			for p, owner := range g.owners {
				if other, had := before.owners[p]; had && other != owner {
					return "", fmt.Errorf("generation %d gives %d to %s and to %s", g.number, p, other, owner)
				}
			}
		}
		byNumber[g.number], last = g, g.number
	}
	for path, events := range a.members {
		for _, e := range events {
			if e.word != "assigned" {
				continue
			}
			gives := func(g generation) bool {
				not := func(p int32) bool {
					owner, given := g.owners[p]
					return !given || owner != e.member && e.member != unknownMember
				}
				return (e.generation < 0 || g.number == e.generation) && !slices.ContainsFunc(e.partitions, not)
			}
			if len(e.partitions) > 0 && !slices.ContainsFunc(a.generations, gives) {
				return "", fmt.Errorf("%s is given %v in generation %d, which is not recorded", path, e.partitions, e.generation)
			}
		}
	}
	return fmt.Sprintf("%d generations", len(byNumber)), nil
}

// tenure is a partition in the hands of a member.
type tenure struct {
	from, to int64
	path     string
}

// oneAtATime: a member that has not been killed, nor thrown out, gives a partition up before another gets it.
func (a *audit) oneAtATime() (string, error) {
	begun, ended := map[int32][]tenure{}, map[int32][]tenure{}
	for path, events := range a.members {
		since := map[int32]int64{}
		for _, e := range events {
			for _, p := range e.partitions {
				switch e.word {
				case "assigned":
					since[p] = e.at
					begun[p] = append(begun[p], tenure{from: e.at, path: path})
				case "revoked":
					ended[p] = append(ended[p], tenure{since[p], e.at, path})
				}
			}
		}
	}
	count := 0
	for p, all := range ended {
		for _, own := range all {
			for _, other := range begun[p] {
				if other.path != own.path && own.from < other.from && other.from < own.to {
					return "", fmt.Errorf("%s had partition %d until %d, %s since %d",
						own.path, p, own.to, other.path, other.from)
				}
			}
			count++
		}
	}
	return fmt.Sprintf("%d times a partition was given up", count), nil
}

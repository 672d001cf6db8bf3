package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What two members, the observer and __consumer_offsets say of a group that is as it should be: one reads
// both partitions, then hands the first one over.
const (
	journalOfA = `
10 assigned 1 a 0,1
15 take 0 0 0
16 take 0 1 1
20 ok 0 2
25 take 1 0 2
30 ok 1 3
40 revoked 0,1
41 assigned 2 a 1`
	journalOfB = `
50 assigned 2 b 0
55 take 0 2 3
60 ok 0 4`
	observed = `
5 seen 0 -1
5 seen 1 -1
24 seen 0 2
24 seen 1 -1
70 seen 0 4
70 seen 1 3`
)

func events(t *testing.T, text string) []event {
	var out []event
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		e, err := parseEvent(line)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func history(t *testing.T, a, b, seen string) *audit {
	return &audit{
		group: "g", topic: "t", ends: []int64{4, 3},
		observed:  events(t, seen),
		members:   map[string][]event{"A": events(t, a), "B": events(t, b)},
		committed: map[int32][]int64{0: {2, 4}, 1: {3}},
		generations: []generation{
			{1, map[int32]string{0: "a", 1: "a"}},
			{2, map[int32]string{0: "b", 1: "a"}},
		},
	}
}

func faults(a *audit) []string {
	var out []string
	for _, c := range a.cases() {
		if _, err := c.Run(); err != nil {
			out = append(out, strings.TrimPrefix(c.Name, "audit/"))
		}
	}
	return out
}

func TestABrokenHistoryIsFound(t *testing.T) {
	// What is put in the place of what, in which journal, and who sees it.
	for name, c := range map[string]struct {
		before, after string
		seenBy        []string
	}{
		"all is well":                     {"", "", nil},
		"a record is taken twice":         {"55 take 0 2 3", "55 take 0 2 3\n56 assigned 2 b 0\n57 take 0 2 3", nil},
		"an id is not known":              {"50 assigned 2 b 0", "50 assigned -1 - 0", nil},
		"given what nobody has":           {"50 assigned 2 b 0", "50 assigned -1 - 0,7", []string{"owners"}},
		"a record comes to nobody":        {"55 take 0 2 3", "55 take 0 2 2", []string{"delivered"}},
		"a partition comes to nobody":     {"25 take 1 0 2\n", "", []string{"delivered"}},
		"a record that is not there":      {"55 take 0 2 3", "55 take 0 2 4", []string{"delivered"}},
		"records change places":           {"15 take 0 0 0\n16 take 0 1 1", "15 take 0 1 1\n16 take 0 0 0", []string{"order"}},
		"a record is passed over":         {"16 take 0 1 1", "16 take 0 2 2", []string{"delivered", "order"}},
		"a record is taken again":         {"16 take 0 1 1", "16 take 0 0 1", []string{"order"}},
		"taken after it was given up":     {"40 revoked 0,1", "40 revoked 0,1\n40 take 1 3 3", []string{"delivered", "order"}},
		"taken by who never had it":       {"55 take 0 2 3", "55 take 0 2 3\n56 take 1 0 2", []string{"order"}},
		"begun before the commit":         {"55 take 0 2 3", "55 take 0 0 3", []string{"order"}},
		"begun behind the commit":         {"55 take 0 2 3", "55 take 0 3 3", []string{"delivered", "order"}},
		"a commit goes back":              {"70 seen 0 4", "70 seen 0 4\n71 seen 0 2\n72 seen 0 4", []string{"commits"}},
		"a commit vanishes":               {"70 seen 0 4", "70 seen 0 4\n71 seen 0 -1\n72 seen 0 4", []string{"commits"}},
		"an acknowledged commit is late":  {"24 seen 0 2", "24 seen 0 1", []string{"commits"}},
		"the last commit is lost":         {"70 seen 0 4", "70 seen 0 2", []string{"commits"}},
		"a commit that nobody stored":     {"30 ok 1 3", "29 ok 1 2\n30 ok 1 3", []string{"offsets-topic"}},
		"given what is another's":         {"50 assigned 2 b 0", "50 assigned 2 b 0,1", []string{"owners"}},
		"given in a generation of before": {"50 assigned 2 b 0", "50 assigned 1 b 0", []string{"owners"}},
		"two have it at the same time":    {"50 assigned 2 b 0", "39 assigned 2 b 0", []string{"one-at-a-time"}},
	} {
		found := 0
		put := func(text string) string {
			found += strings.Count(text, c.before)
			return strings.Replace(text, c.before, c.after, 1)
		}
		a := history(t, put(journalOfA), put(journalOfB), put(observed))
		if c.before != "" && found != 1 {
			t.Errorf("%s: %q is %d times in the journals", name, c.before, found)
		}
		if got := faults(a); !slices.Equal(got, c.seenBy) {
			t.Errorf("%s: seen by %v, expected of %v", name, got, c.seenBy)
		}
	}
}

// A record that kcat drops when it ends is no fault, nor is kafka-python that goes on where it left off.
func TestWhatClientsAreKnownToDoIsNoFault(t *testing.T) {
	const dropped = `
10 assigned 1 a 0,1
15 take 0 0 0
25 take 1 0 2
30 ok 1 3`
	const goesOn = `
10 assigned 1 a 0,1
15 take 0 0 0
25 take 1 0 2
30 ok 1 3
31 revoked 0,1
32 assigned 1 a 0,1
32 revoked 0,1
32 assigned 1 a 0,1
33 take 0 1 1
40 revoked 0,1
41 assigned 2 a 1`
	const tookTurns = `
10 assigned 1 a 0,1
15 take 0 0 0
25 take 1 0 2
30 ok 1 3
31 revoked 0,1
32 assigned 1 a 1
33 assigned 1 a 0,1
34 take 0 1 1`
	for name, c := range map[string]struct {
		path, journal string
		ends          []int64
		seenBy        []string
	}{
		"kcat drops one":                  {"kcat-7", dropped, []int64{4, 3}, nil},
		"kcat drops two":                  {"kcat-7", dropped, []int64{4, 4}, []string{"delivered", "commits"}},
		"another one drops one":           {"sarama-7", dropped, []int64{4, 3}, []string{"delivered"}},
		"kafka-python keeps its place":    {"kafka-python-7", goesOn, []int64{4, 3}, nil},
		"sarama keeps its place":          {"sarama-7", goesOn, []int64{4, 3}, []string{"order"}},
		"kafka-python keeps an older one": {"kafka-python-7", tookTurns, []int64{4, 3}, []string{"order"}},
	} {
		a := history(t, journalOfA, journalOfB, observed)
		a.ends = c.ends
		delete(a.members, "A")
		a.members[filepath.Join("x", c.path)] = events(t, c.journal)
		if got := faults(a); !slices.Equal(got, c.seenBy) {
			t.Errorf("%s: seen by %v, expected of %v", name, got, c.seenBy)
		}
	}
}

func TestBrokenRecordsOfAGroupAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		breaks func(a *audit)
		seenBy string
	}{
		"commits go back":         {func(a *audit) { a.committed[0] = []int64{4, 2} }, "offsets-topic"},
		"a commit is not there":   {func(a *audit) { a.committed[0] = []int64{0, 2} }, "offsets-topic"},
		"offsets are deleted":     {func(a *audit) { a.deleted = 1 }, "offsets-topic"},
		"generations go back":     {func(a *audit) { slices.Reverse(a.generations) }, "owners"},
		"a generation is missing": {func(a *audit) { a.generations = a.generations[1:] }, "owners"},
		"two owners in a generation": {func(a *audit) {
			again := generation{2, map[int32]string{0: "a", 1: "a"}}
			a.generations = append(a.generations, again)
		}, "owners"},
	} {
		a := history(t, journalOfA, journalOfB, observed)
		c.breaks(a)
		if got := faults(a); !slices.Equal(got, []string{c.seenBy}) {
			t.Errorf("%s: seen by %v, expected of %s", name, got, c.seenBy)
		}
	}
}

// record is one of a generation in which each of the members has partition 0.
func record(members ...string) *kgo.Record {
	key := kmsg.GroupMetadataKey{Version: 2, Group: "g"}
	value := kmsg.GroupMetadataValue{Version: 3, Generation: 1}
	assignment := kmsg.ConsumerMemberAssignment{
		Topics: []kmsg.ConsumerMemberAssignmentTopic{{Topic: "t", Partitions: []int32{0}}},
	}
	for _, member := range members {
		value.Members = append(value.Members, kmsg.GroupMetadataValueMember{
			MemberID: member, Assignment: assignment.AppendTo(nil),
		})
	}
	return &kgo.Record{Key: key.AppendTo(nil), Value: value.AppendTo(nil)}
}

func TestAGenerationWithTwoOwnersIsFound(t *testing.T) {
	a := &audit{group: "g", topic: "t"}
	if err := a.takeRecord(record("a")); err != nil || a.generations[0].owners[0] != "a" {
		t.Errorf("%v: %v", err, a.generations)
	}
	if err := a.takeRecord(record("a", "b")); err == nil {
		t.Error("partition 0 is given to two, and nobody minds")
	}
}

// newerHistory is the same in a group of the newer protocol: the first partition is given up, then given.
func newerHistory(t *testing.T) *audit {
	a := history(t, journalOfA, journalOfB, observed)
	a.newer, a.generations = true, nil
	a.reconciled = []reconciled{
		{epoch: 1}, {member: "a", epoch: 1, has: []int32{0, 1}},
		{epoch: 2}, {member: "b", epoch: 2},
		{member: "a", epoch: 1, has: []int32{1}, givesUp: []int32{0}},
		{member: "a", epoch: 2, has: []int32{1}}, {member: "b", epoch: 2, has: []int32{0}},
		{member: "a", gone: true}, {epoch: 3}, {member: "b", epoch: 3, has: []int32{0, 1}},
	}
	return a
}

func TestBrokenRecordsOfANewerGroupAreFound(t *testing.T) {
	if got := faults(newerHistory(t)); got != nil {
		t.Errorf("all is well, but for %v", got)
	}
	for name, breaks := range map[string]func(a *audit){
		"the group's epoch goes back":        func(a *audit) { a.reconciled[2].epoch = 0 },
		"a member's epoch goes back":         func(a *audit) { a.reconciled[5].epoch = 0 },
		"given before it is given up":        func(a *audit) { a.reconciled[3].has = []int32{0} },
		"given while it is to be given up":   func(a *audit) { a.reconciled = slices.Delete(a.reconciled, 5, 6) },
		"given while it is another's":        func(a *audit) { a.reconciled[6].has = []int32{0, 1} },
		"taken from who is there":            func(a *audit) { a.reconciled = slices.Delete(a.reconciled, 7, 8) },
		"an assignment is not recorded":      func(a *audit) { a.reconciled = a.reconciled[:6] },
		"it is recorded for a later epoch":   func(a *audit) { a.reconciled[6].epoch = 3 },
		"it has been a group of generations": func(a *audit) { a.generations = []generation{{1, nil}} },
	} {
		a := newerHistory(t)
		breaks(a)
		if got := faults(a); !slices.Equal(got, []string{"owners"}) {
			t.Errorf("%s: seen by %v, expected of owners", name, got)
		}
	}
	a := history(t, journalOfA, journalOfB, observed)
	a.reconciled = []reconciled{{epoch: 1}}
	if got := faults(a); !slices.Equal(got, []string{"owners"}) {
		t.Errorf("a classic group was a newer one: seen by %v", got)
	}
}

func TestRecordsOfANewerGroupAreRead(t *testing.T) {
	text := func(s string) string { return "\x00" + string(rune(len(s))) + s }
	id := strings.Repeat("\x07", 16)
	current := "\x00\x08" + text("g") + text("m")
	// A tagged field stands beside the partitions of the topic.
	value := "\x00\x00" + "\x00\x00\x00\x05" + "\x00\x00\x00\x04" + "\x01" +
		"\x02" + id + "\x03\x00\x00\x00\x02\x00\x00\x00\x0b" + "\x01\x00\x02\x01\x01" +
		"\x02" + id + "\x02\x00\x00\x00\x07" + "\x00" + "\x00"
	a := &audit{group: "g"}
	for _, r := range []kgo.Record{
		{Key: []byte("\x00\x03" + text("g")), Value: []byte("\x00\x00\x00\x00\x00\x06\x00")},
		{Key: []byte(current), Value: []byte(value)},
		{Key: []byte(current)},
		{Key: []byte("\x00\x03" + text("other")), Value: []byte("\x00\x00\x00\x00\x00\x06\x00")},
		{Key: []byte("\x00\x05" + text("g") + text("m"))},
	} {
		if err := a.takeRecord(&r); err != nil {
			t.Error(err)
		}
	}
	due := []reconciled{
		{epoch: 6}, {member: "m", epoch: 5, has: []int32{2, 11}, givesUp: []int32{7}}, {member: "m", gone: true},
	}
	if !reflect.DeepEqual(a.reconciled, due) {
		t.Errorf("%v, due is %v", a.reconciled, due)
	}
	for cut := 1; cut < len(value)-1; cut++ {
		if err := a.takeRecord(&kgo.Record{Key: []byte(current), Value: []byte(value[:cut])}); err == nil {
			t.Errorf("the first %d bytes are taken for all", cut)
		}
	}
}

func TestTheLinesOfKcatAreRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kcat")
	text := "% Waiting for group rebalance\n" +
		"% Group g rebalanced (memberid rdkafka-1): assigned: t [0], t [11]\n0 take 11 3 3\n" +
		"% Reached end of topic t [11] at offset 4\n" +
		"% Group g rebalanced (memberid rdkafka-1): revoked: t [0], t [11]\n0 take 1"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	own := []int32{0, 11}
	due := []event{
		{word: "assigned", generation: -1, member: "rdkafka-1", partitions: own},
		{word: "take", partitions: []int32{11}, first: 3, last: 3},
		{word: "lost", generation: -1, member: "rdkafka-1", partitions: own},
	}
	if got, err := readJournal(path); err != nil || !reflect.DeepEqual(got, due) {
		t.Errorf("%v: %v, due is %v", err, got, due)
	}
}

func TestWhatIsNoJournalIsRefused(t *testing.T) {
	for _, text := range []string{"", "1 take", "1 take 0 1", "1 assigned 0,1", "1 ok x 3", "1 dances 0 1"} {
		if e, err := parseEvent(text); err == nil {
			t.Errorf("%q is %v", text, e)
		}
	}
}

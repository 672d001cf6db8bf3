package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"tidewheel.invalid/clients/harness"
)

// A restless group: members of several libraries come, go and are killed, the broker too. Each member
// writes down what happens to it, one line at a time, unbuffered, so that a kill loses none; audit.go
// reads it. A line begins with the time in microseconds since 1970, which all processes share:
//
//	T assigned GENERATION MEMBER P,P,..   partitions it is given in addition; generation -1: not known
//	T revoked P,P,..                      partitions it gives up in a rebalance, or when it leaves
//	T lost P,P,..                         partitions it had when it learnt that it is no member any more
//	T take P FIRST LAST                   records it took, without a gap
//	T ok P OFFSET                         a commit that was acknowledged
//	T seen P OFFSET                       of the observer: what is committed, asked at T; -1: nothing

const (
	restlessSession   = 3 * time.Second
	restlessRebalance = 10 * time.Second
	// flowTick and flowPerTick make 2,000 records a second.
	flowTick    = 5 * time.Millisecond
	flowPerTick = 10
	flowValue   = 100
)

// journal is the file of one member.
type journal struct {
	file *os.File
	// The place and the count down to where the member kills itself.
	place string
	left  int
}

func openJournal(path, die string) (*journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	place, count, _ := strings.Cut(die, ":")
	left, _ := strconv.Atoi(count)
	return &journal{file, place, left}, nil
}

func micros() int64 { return time.Now().UnixMicro() }

func (j *journal) noteAt(at int64, format string, args ...any) {
	fmt.Fprintf(j.file, "%d %s\n", at, fmt.Sprintf(format, args...))
}

func (j *journal) note(format string, args ...any) { j.noteAt(micros(), format, args...) }

// reached is kill -9 by its own hand, at the place and the time that it was told.
func (j *journal) reached(place string) {
	if place != j.place {
		return
	}
	if j.left--; j.left <= 0 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func list(partitions []int32) string {
	slices.Sort(partitions)
	text := make([]string, len(partitions))
	for i, p := range partitions {
		text[i] = strconv.Itoa(int(p))
	}
	return strings.Join(text, ",")
}

func untilInputCloses() context.Context {
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	return ctx
}

// restless is one member. Rebalances wait until what was polled is noted.
type restless struct {
	*journal
	topic  string
	client *kgo.Client
	// Where it goes on, by partition, where that is not committed yet.
	open map[int32]int64
}

func (m *restless) assigned(_ context.Context, own *kgo.Client, all map[string][]int32) {
	id, generation := own.GroupMetadata()
	m.note("assigned %d %s %s", generation, id, list(all[m.topic]))
	m.reached("assigned")
}

func (m *restless) revoked(ctx context.Context, _ *kgo.Client, all map[string][]int32) {
	m.reached("revoked")
	m.commit(ctx, all[m.topic])
	m.gone("revoked", all)
}

func (m *restless) lost(_ context.Context, _ *kgo.Client, all map[string][]int32) {
	m.gone("lost", all)
}

func (m *restless) gone(word string, all map[string][]int32) {
	m.note("%s %s", word, list(all[m.topic]))
	for _, p := range all[m.topic] {
		delete(m.open, p)
	}
}

// commit commits what was taken of these partitions. That it may fail belongs to this case.
func (m *restless) commit(ctx context.Context, partitions []int32) {
	offsets := map[int32]kgo.EpochOffset{}
	for _, p := range partitions {
		if at, open := m.open[p]; open {
			offsets[p] = kgo.EpochOffset{Epoch: -1, Offset: at}
		}
	}
	if len(offsets) == 0 {
		return
	}
	if m.place == "commit" && m.left == 1 {
		// It is killed while the request is under way, or the answer.
		go func() {
			time.Sleep(time.Duration(rand.IntN(3_000)) * time.Microsecond)
			m.reached("commit")
		}()
	} else {
		m.reached("commit")
	}
	refused := commitOffsets(ctx, m.client, m.topic, offsets)
	if refused != nil {
		return
	}
	for p, at := range offsets {
		m.note("ok %d %d", p, at.Offset)
		delete(m.open, p)
	}
}

// take notes what was polled: one line for each run of offsets.
func (m *restless) take(fetches kgo.Fetches) {
	fetches.EachPartition(func(from kgo.FetchTopicPartition) {
		for rest := from.Records; len(rest) > 0; {
			n := 1
			for n < len(rest) && rest[n].Offset == rest[n-1].Offset+1 {
				n++
			}
			m.note("take %d %d %d", from.Partition, rest[0].Offset, rest[n-1].Offset)
			m.open[from.Partition] = rest[n-1].Offset + 1
			rest = rest[n:]
		}
	})
}

func restlessBalancer(name string) kgo.GroupBalancer {
	if name == "cooperative-sticky" {
		return kgo.CooperativeStickyBalancer()
	}
	return kgo.RangeBalancer()
}

// runRestless is a member until its standard input closes: member GROUP TOPIC ASSIGNOR FILE PLACE:COUNT.
func runRestless(w *world, args []string) (bool, error) {
	if len(args) != 5 {
		return false, errors.New("member needs GROUP TOPIC ASSIGNOR FILE PLACE:COUNT")
	}
	notes, err := openJournal(args[3], args[4])
	if err != nil {
		return false, err
	}
	m := &restless{journal: notes, topic: args[1], open: map[int32]int64{}}
	m.client, err = kgo.NewClient(
		kgo.SeedBrokers(w.Bootstrap), kgo.ConsumerGroup(args[0]), kgo.ConsumeTopics(m.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.Balancers(restlessBalancer(args[2])),
		kgo.SessionTimeout(restlessSession), kgo.RebalanceTimeout(restlessRebalance),
		kgo.HeartbeatInterval(harness.GroupHeartbeat), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
		kgo.OnPartitionsAssigned(m.assigned), kgo.OnPartitionsRevoked(m.revoked), kgo.OnPartitionsLost(m.lost),
	)
	if err != nil {
		return false, err
	}
	for ctx := untilInputCloses(); ctx.Err() == nil; {
		polled, stop := context.WithTimeout(ctx, 100*time.Millisecond)
		fetches := m.client.PollRecords(polled, 500)
		stop()
		m.take(fetches)
		// Now and then, and when there is nothing to do.
		if fetches.NumRecords() == 0 || rand.IntN(2) == 0 {
			limit, stop := harness.Deadline(5 * time.Second)
			m.commit(limit, openPartitions(m.open))
			stop()
		}
		m.client.AllowRebalance()
	}
	m.client.Close() // it leaves
	return true, nil
}

func openPartitions(open map[int32]int64) []int32 {
	var out []int32
	for p := range open {
		out = append(out, p)
	}
	return out
}

// runFlow produces until its standard input closes: flow TOPIC PARTITIONS.
func runFlow(w *world, args []string) (bool, error) {
	if len(args) != 2 {
		return false, errors.New("flow needs TOPIC PARTITIONS")
	}
	partitions, err := strconv.Atoi(args[1])
	if err != nil {
		return false, err
	}
	if err := w.MakeTopic(args[0], int32(partitions), harness.TopicSettings()); err != nil {
		return false, err
	}
	_, options := classOptions("idempotent")
	client, err := w.client.producer("none", "idempotent", append(options, kgo.MaxBufferedRecords(4_000))...)
	if err != nil {
		return false, err
	}
	var acked, failed atomic.Int64
	sent, started := int64(0), time.Now()
	for ctx := untilInputCloses(); ctx.Err() == nil; time.Sleep(flowTick) {
		for range flowPerTick {
			p := int32(rand.IntN(partitions))
			record := &kgo.Record{Topic: args[0], Partition: p, Value: make([]byte, flowValue)}
			client.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Add(1)
				}
				acked.Add(1)
			})
			sent++
		}
		if sent%(flowPerTick*10) == 0 {
			fmt.Printf("{\"progress\":%d}\n", acked.Load())
		}
	}
	end, cancel := harness.Deadline(time.Minute)
	defer cancel()
	if err = client.Flush(end); err == nil {
		err = harness.Wants(failed.Load() == 0, "%d of %d records were not acknowledged", failed.Load(), sent)
	}
	client.Close()
	return harness.Report("flow", fmt.Sprintf("%d records", sent), err, started), nil
}

// runObserver asks all the time how far the group is, until its standard input closes:
// observe GROUP TOPIC PARTITIONS FILE. It prints {"state": .., "lag": ..} after every look.
func runObserver(w *world, args []string) (bool, error) {
	if len(args) != 4 {
		return false, errors.New("observe needs GROUP TOPIC PARTITIONS FILE")
	}
	group, topic := args[0], args[1]
	partitions, err := strconv.Atoi(args[2])
	if err != nil {
		return false, err
	}
	notes, err := openJournal(args[3], "never")
	if err != nil {
		return false, err
	}
	for ctx := untilInputCloses(); ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		limit, stop := context.WithTimeout(ctx, 5*time.Second)
		at := micros()
		committed, err := w.client.admin.FetchOffsets(limit, group)
		ends, failed := w.client.admin.ListEndOffsets(limit, topic)
		described, away := w.client.admin.DescribeGroups(limit, group)
		stop()
		if err != nil || failed != nil || away != nil || committed.Error() != nil || ends.Error() != nil {
			continue // the broker is away, or loading
		}
		lag := int64(0)
		for p := range int32(partitions) {
			offset := int64(-1)
			if seen, known := committed.Lookup(topic, p); known {
				offset = seen.At
			}
			notes.noteAt(at, "seen %d %d", p, offset)
			end, _ := ends.Lookup(topic, p)
			lag += end.Offset - max(offset, 0)
		}
		fmt.Printf("{\"state\":%q,\"lag\":%d}\n", described[group].State, lag)
	}
	return true, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"tidewheel.invalid/clients/harness"
)

const (
	// flowTick and flowPerTick make 2,000 records a second.
	flowTick    = 5 * time.Millisecond
	flowPerTick = 10
	flowValue   = 100
)

// restless is one member. Rebalances wait until what was polled is noted.
type restless struct {
	*harness.Journal
	topic  string
	client *kgo.Client
	// Where it goes on, by partition, where that is not committed yet.
	open map[int32]int64
	// Between an assignment and its end.
	owns atomic.Bool
}

func (m *restless) assigned(_ context.Context, own *kgo.Client, all map[string][]int32) {
	id, generation := own.GroupMetadata()
	m.Note("assigned %d %s %s", generation, id, harness.PartitionList(all[m.topic]))
	m.owns.Store(true)
	m.Reached("assigned")
}

// fetched keeps an eager member from what it has given up. Where a rebalance begins before the answer to
// OffsetFetch comes, kgo 1.21.5 revokes everything first and begins at the answer's offsets all the same
// (fetchOffsets in consumer_group.go, whose context ends after the revocation), until it is assigned anew.
func (m *restless) fetched(context.Context, *kgo.Client, *kmsg.OffsetFetchResponse) error {
	if !m.owns.Load() {
		return kerr.RebalanceInProgress
	}
	return nil
}

func (m *restless) revoked(ctx context.Context, _ *kgo.Client, all map[string][]int32) {
	m.owns.Store(false)
	m.Reached("revoked")
	m.commit(ctx, all[m.topic])
	m.gone("revoked", all)
}

func (m *restless) lost(_ context.Context, _ *kgo.Client, all map[string][]int32) {
	m.owns.Store(false)
	m.gone("lost", all)
}

func (m *restless) gone(word string, all map[string][]int32) {
	m.Note("%s %s", word, harness.PartitionList(all[m.topic]))
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
	m.Committing()
	refused := commitOffsets(ctx, m.client, m.topic, offsets)
	if refused != nil {
		return
	}
	for p, at := range offsets {
		m.Note("ok %d %d", p, at.Offset)
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
			m.Note("take %d %d %d", from.Partition, rest[0].Offset, rest[n-1].Offset)
			m.open[from.Partition] = rest[n-1].Offset + 1
			rest = rest[n:]
		}
	})
}

// byNewer is what stands in the place of an assignor where members join by the newer protocol (KIP-848).
const byNewer = "consumer"

func restlessBalancer(name string) kgo.GroupBalancer {
	if name == "range" {
		return kgo.RangeBalancer()
	}
	return kgo.CooperativeStickyBalancer()
}

// runRestless is a member until its standard input closes: member GROUP TOPIC ASSIGNOR FILE PLACE:COUNT.
func runRestless(w *world, args []string) (bool, error) {
	if len(args) != 5 {
		return false, errors.New("member needs GROUP TOPIC ASSIGNOR FILE PLACE:COUNT")
	}
	notes, err := harness.OpenJournal(args[3], args[4])
	if err != nil {
		return false, err
	}
	w.client.newer = args[2] == byNewer
	m := &restless{Journal: notes, topic: args[1], open: map[int32]int64{}}
	options := append(w.client.optsIn(),
		kgo.SeedBrokers(w.Bootstrap), kgo.ConsumerGroup(args[0]), kgo.ConsumeTopics(m.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.Balancers(restlessBalancer(args[2])),
		kgo.SessionTimeout(harness.RestlessSession), kgo.RebalanceTimeout(harness.RestlessRebalance),
		kgo.HeartbeatInterval(harness.GroupHeartbeat), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.RetryBackoffFn(func(int) time.Duration { return harness.RestlessBackoff }),
		kgo.OnPartitionsAssigned(m.assigned), kgo.OnPartitionsRevoked(m.revoked), kgo.OnPartitionsLost(m.lost),
	)
	if args[2] == "range" {
		options = append(options, kgo.OnOffsetsFetched(m.fetched))
	}
	if m.client, err = kgo.NewClient(options...); err != nil {
		return false, err
	}
	for ctx := harness.UntilInputCloses(); ctx.Err() == nil; {
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
	var reason atomic.Value
	sent, started := int64(0), time.Now()
	for ctx := harness.UntilInputCloses(); ctx.Err() == nil; time.Sleep(flowTick) {
		for range flowPerTick {
			p := int32(rand.IntN(partitions))
			record := &kgo.Record{Topic: args[0], Partition: p, Value: make([]byte, flowValue)}
			client.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Add(1)
					reason.Store(err.Error())
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
		err = harness.Wants(failed.Load() == 0, "%d of %d records were not acknowledged: %v", failed.Load(), sent, reason.Load())
	}
	client.Close()
	return harness.Report("flow", fmt.Sprintf("%d records", sent), err, started), nil
}

// runObserver asks all the time how far the group is, until its standard input closes:
// observe ASSIGNOR GROUP TOPIC PARTITIONS FILE. It prints {"state": .., "lag": ..} after every look.
func runObserver(w *world, args []string) (bool, error) {
	if len(args) != 5 {
		return false, errors.New("observe needs ASSIGNOR GROUP TOPIC PARTITIONS FILE")
	}
	w.client.newer = args[0] == byNewer
	group, topic := args[1], args[2]
	partitions, err := strconv.Atoi(args[3])
	if err != nil {
		return false, err
	}
	notes, err := harness.OpenJournal(args[4], "never")
	if err != nil {
		return false, err
	}
	for ctx := harness.UntilInputCloses(); ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		limit, stop := context.WithTimeout(ctx, 5*time.Second)
		at := harness.Micros()
		committed, err := w.client.admin.FetchOffsets(limit, group)
		ends, failed := w.client.admin.ListEndOffsets(limit, topic)
		// An error of the group itself says that it is not there yet.
		state, _, unknown := w.client.DescribeGroup(limit, group)
		away := unknown != nil && w.client.Code(unknown) < 0
		stop()
		if err != nil || failed != nil || away || committed.Error() != nil || ends.Error() != nil {
			continue // the broker is away, or loading
		}
		lag := int64(0)
		for p := range int32(partitions) {
			offset := int64(-1)
			if seen, known := committed.Lookup(topic, p); known {
				offset = seen.At
			}
			notes.NoteAt(at, "seen %d %d", p, offset)
			end, _ := ends.Lookup(topic, p)
			lag += end.Offset - max(offset, 0)
		}
		fmt.Printf("{\"state\":%q,\"lag\":%d}\n", state, lag)
	}
	return true, nil
}

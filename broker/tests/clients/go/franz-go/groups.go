package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"tidewheel.invalid/clients/harness"
)

// member reads in a group, with the library's own way to balance: cooperative and sticky.
type member struct {
	harness.Log
	topic  string
	client *kgo.Client
	stop   context.CancelFunc
	ended  chan struct{}
}

func (c *client) Join(group, topic string, autoCommit bool) (harness.Member, error) {
	m := &member{topic: topic, ended: make(chan struct{})}
	lost := func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { m.Revoked(lost[topic]...) }
	options := []kgo.Opt{
		kgo.SeedBrokers(c.bootstrap), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.HeartbeatInterval(harness.GroupHeartbeat),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, all map[string][]int32) {
			m.Assigned(all[topic]...)
		}),
		kgo.OnPartitionsLost(lost),
	}
	if autoCommit {
		// What was polled is committed before it is given away, as it is without this callback.
		options = append(options, kgo.OnPartitionsRevoked(
			func(ctx context.Context, own *kgo.Client, all map[string][]int32) {
				if err := own.CommitUncommittedOffsets(ctx); err != nil {
					m.Fail(err)
				}
				lost(ctx, own, all)
			}))
	} else {
		options = append(options, kgo.DisableAutoCommit(), kgo.OnPartitionsRevoked(lost))
	}
	options = append(options, c.optsIn()...)
	var err error
	if m.client, err = kgo.NewClient(options...); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	go m.poll(ctx)
	return m, nil
}

func (m *member) poll(ctx context.Context) {
	defer close(m.ended)
	for ctx.Err() == nil {
		fetches := m.client.PollFetches(ctx)
		if ctx.Err() == nil && fetches.Err() != nil {
			m.Fail(fetches.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) { m.Take(r.Partition, r.Offset) })
	}
}

// Commit: the texts go into the request.
func (m *member) Commit(ctx context.Context, offsets map[int32]harness.Commit) error {
	own := map[int32]kgo.EpochOffset{}
	for p, at := range offsets {
		own[p] = kgo.EpochOffset{Epoch: -1, Offset: at.Offset}
	}
	ctx = kgo.PreCommitFnContext(ctx, func(request *kmsg.OffsetCommitRequest) error {
		for t := range request.Topics {
			for p := range request.Topics[t].Partitions {
				to := &request.Topics[t].Partitions[p]
				to.Metadata = kmsg.StringPtr(offsets[to.Partition].Text)
			}
		}
		return nil
	})
	return commitOffsets(ctx, m.client, m.topic, own)
}

// commitOffsets waits for the answer; an error is also that of a single partition.
func commitOffsets(ctx context.Context, own *kgo.Client, topic string, offsets map[int32]kgo.EpochOffset) error {
	var failed error
	own.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{topic: offsets},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
			failed = err
			if err == nil {
				failed = refusal(answer)
			}
		})
	return failed
}

// refusal is the first error of an answer.
func refusal(answer *kmsg.OffsetCommitResponse) error {
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

// Leave: what was polled last counts as read with the next poll, which is under way.
func (m *member) Leave() error {
	m.stop()
	<-m.ended
	m.client.Close()
	return nil
}

func (c *client) Groups(ctx context.Context) ([]string, error) {
	seen, err := c.admin.ListGroups(ctx)
	return seen.Groups(), err
}

func (c *client) DescribeGroup(ctx context.Context, group string) (string, int, error) {
	if c.newer {
		return c.describeConsumers(ctx, group)
	}
	seen, err := c.admin.DescribeGroups(ctx, group)
	if err != nil {
		return "", 0, err
	}
	return seen[group].State, len(seen[group].Members), seen[group].Err
}

func (c *client) DeleteGroup(ctx context.Context, group string) error {
	_, err := c.admin.DeleteGroup(ctx, group)
	return err
}

func (c *client) Committed(
	ctx context.Context, group, topic string, partitions []int32,
) (map[int32]harness.Commit, error) {
	seen, err := c.admin.FetchOffsets(ctx, group)
	out := map[int32]harness.Commit{}
	for _, p := range partitions {
		if at, known := seen.Lookup(topic, p); known {
			out[p] = harness.Commit{Offset: at.At, Text: at.Metadata}
		}
	}
	return out, err
}

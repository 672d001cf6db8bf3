package main

import (
	"context"
	"errors"
	"time"

	"github.com/segmentio/kafka-go"

	"tidewheel.invalid/clients/harness"
)

// member reads in a group as the library's documentation does it: a reader per assigned partition.
type member struct {
	harness.Log
	bootstrap, topic string
	autoCommit       bool
	group            *kafka.ConsumerGroup
	stop             context.CancelFunc
	ended            chan struct{}
	// generations gets every assignment; a newer one takes the place of an older one.
	generations chan *kafka.Generation
}

func (c *client) Join(group, topic string, autoCommit bool) (harness.Member, error) {
	own, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: group, Brokers: []string{c.bootstrap}, Topics: []string{topic},
		HeartbeatInterval: harness.GroupHeartbeat, StartOffset: kafka.FirstOffset,
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &member{
		bootstrap: c.bootstrap, topic: topic, autoCommit: autoCommit, group: own, stop: stop,
		ended: make(chan struct{}), generations: make(chan *kafka.Generation, 1),
	}
	go m.follow(ctx)
	return m, nil
}

// follow takes one assignment after the other; the next comes when all readers of the last have ended.
func (m *member) follow(ctx context.Context) {
	defer close(m.ended)
	for {
		generation, err := m.group.Next(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, kafka.RebalanceInProgress) {
			continue // others came while it joined: it joins again
		}
		if err != nil {
			m.Fail(err)
			return
		}
		assigned := generation.Assignments[m.topic]
		var own []int32
		for _, a := range assigned {
			own = append(own, int32(a.ID))
		}
		m.Assigned(own...)
		select {
		case <-m.generations:
		default:
		}
		m.generations <- generation
		for _, a := range assigned {
			generation.Start(func(ctx context.Context) {
				defer m.Revoked(int32(a.ID))
				if err := m.read(ctx, generation, a); err != nil && ctx.Err() == nil {
					m.Fail(err)
				}
			})
		}
	}
}

func (m *member) read(ctx context.Context, generation *kafka.Generation, a kafka.PartitionAssignment) error {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{m.bootstrap}, Topic: m.topic, Partition: a.ID, MaxWait: 50 * time.Millisecond,
	})
	err := reader.SetOffset(a.Offset)
	for err == nil {
		var got kafka.Message
		if got, err = reader.ReadMessage(ctx); err == nil {
			m.Take(int32(got.Partition), got.Offset)
			if m.autoCommit {
				err = generation.CommitOffsets(map[string]map[int]int64{m.topic: {a.ID: got.Offset + 1}})
			}
		}
	}
	if errors.Is(err, kafka.RebalanceInProgress) {
		err = nil // a commit came too late: the generation ends, and the record comes again
	}
	return errors.Join(err, reader.Close())
}

// Commit: the library commits no texts.
func (m *member) Commit(_ context.Context, offsets map[int32]harness.Commit) error {
	own := map[int]int64{}
	for p, at := range offsets {
		own[int(p)] = at.Offset
	}
	return (<-m.generations).CommitOffsets(map[string]map[int]int64{m.topic: own})
}

func (m *member) Leave() error {
	m.stop()
	<-m.ended
	return m.group.Close()
}

func (c *client) Groups(ctx context.Context) ([]string, error) {
	seen, err := c.admin.ListGroups(ctx, &kafka.ListGroupsRequest{})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, group := range seen.Groups {
		out = append(out, group.GroupID)
	}
	return out, seen.Error
}

func (c *client) DescribeGroup(ctx context.Context, group string) (string, int, error) {
	seen, err := c.admin.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return "", 0, err
	}
	return seen.Groups[0].GroupState, len(seen.Groups[0].Members), seen.Groups[0].Error
}

func (c *client) DeleteGroup(ctx context.Context, group string) error {
	seen, err := c.admin.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return err
	}
	return seen.Errors[group]
}

func (c *client) Committed(
	ctx context.Context, group, topic string, partitions []int32,
) (map[int32]harness.Commit, error) {
	asked := &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: nil}}
	for _, p := range partitions {
		asked.Topics[topic] = append(asked.Topics[topic], int(p))
	}
	seen, err := c.admin.OffsetFetch(ctx, asked)
	if err != nil {
		return nil, err
	}
	out, err := map[int32]harness.Commit{}, seen.Error
	for _, p := range seen.Topics[topic] {
		err = errors.Join(err, p.Error)
		out[int32(p.Partition)] = harness.Commit{Offset: p.CommittedOffset, Text: p.Metadata}
	}
	return out, err
}

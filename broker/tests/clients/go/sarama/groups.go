package main

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/IBM/sarama"

	"tidewheel.invalid/clients/harness"
)

// member reads in a group; it is the group's handler too.
type member struct {
	harness.Log
	topic      string
	autoCommit bool
	group      sarama.ConsumerGroup
	stop       context.CancelFunc
	ended      chan struct{}
	// sessions gets the session of every assignment; a newer one takes the place of an older one.
	sessions chan sarama.ConsumerGroupSession
}

func (c *client) Join(group, topic string, autoCommit bool) (harness.Member, error) {
	config := sarama.NewConfig()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = autoCommit
	config.Consumer.Group.Heartbeat.Interval = harness.GroupHeartbeat
	config.Consumer.Return.Errors = true
	own, err := sarama.NewConsumerGroup(c.bootstrap, group, config)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &member{
		topic: topic, autoCommit: autoCommit, group: own, stop: stop, ended: make(chan struct{}),
		sessions: make(chan sarama.ConsumerGroupSession, 1),
	}
	go m.consume(ctx)
	go func() {
		for err := range own.Errors() {
			m.Fail(err)
		}
	}()
	return m, nil
}

func (m *member) consume(ctx context.Context) {
	defer close(m.ended)
	for ctx.Err() == nil {
		if err := m.group.Consume(ctx, []string{m.topic}, m); err != nil {
			m.Fail(err)
			return
		}
	}
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.Assigned(session.Claims()[m.topic]...)
	select {
	case <-m.sessions:
	default:
	}
	m.sessions <- session
	return nil
}

func (m *member) Cleanup(session sarama.ConsumerGroupSession) error {
	m.Revoked(session.Claims()[m.topic]...)
	return nil
}

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		m.Take(message.Partition, message.Offset)
		if m.autoCommit {
			session.MarkMessage(message, "")
		}
	}
	return nil
}

func (m *member) Commit(_ context.Context, offsets map[int32]harness.Commit) error {
	session := <-m.sessions
	for p, at := range offsets {
		session.MarkOffset(m.topic, p, at.Offset, at.Text)
	}
	session.Commit() // an error goes to Errors
	return nil
}

func (m *member) Leave() error {
	m.stop()
	<-m.ended
	return m.group.Close()
}

func (c *client) Groups(context.Context) ([]string, error) {
	seen, err := c.admin.ListConsumerGroups()
	return slices.Collect(maps.Keys(seen)), err
}

func (c *client) DescribeGroup(_ context.Context, group string) (string, int, error) {
	seen, err := c.admin.DescribeConsumerGroups([]string{group})
	if err != nil {
		return "", 0, err
	}
	if seen[0].Err != sarama.ErrNoError {
		return "", 0, seen[0].Err
	}
	return seen[0].State, len(seen[0].Members), nil
}

func (c *client) DeleteGroup(_ context.Context, group string) error {
	return c.admin.DeleteConsumerGroup(group)
}

func (c *client) Committed(
	_ context.Context, group, topic string, partitions []int32,
) (map[int32]harness.Commit, error) {
	seen, err := c.admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: partitions})
	if err != nil {
		return nil, err
	}
	out := map[int32]harness.Commit{}
	for p, at := range seen.Blocks[topic] {
		if at.Err != sarama.ErrNoError {
			err = errors.Join(err, at.Err)
		}
		out[p] = harness.Commit{Offset: at.Offset, Text: at.Metadata}
	}
	return out, err
}

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"tidewheel.invalid/clients/harness"
)

// commitTick is how often a member thinks of a commit.
const commitTick = 50 * time.Millisecond

// restless is a member of a restless group, and the group's handler.
type restless struct {
	*harness.Journal
	client       *client
	group, topic string
	// One at a time: records of several partitions are taken, and commits made, on threads of their own.
	mutex sync.Mutex
	// Where it goes on, by partition, where that is not committed yet.
	open       map[int32]int64
	committing sync.WaitGroup
}

func (m *restless) Setup(session sarama.ConsumerGroupSession) error {
	m.open = map[int32]int64{}
	claims := harness.PartitionList(session.Claims()[m.topic])
	m.Note("assigned %d %s %s", session.GenerationID(), session.MemberID(), claims)
	m.Reached("assigned")
	m.committing.Add(1)
	go func() {
		defer m.committing.Done()
		for session.Context().Err() == nil {
			time.Sleep(commitTick)
			if rand.IntN(2) == 0 {
				m.commit(session)
			}
		}
	}()
	return nil
}

// Cleanup: the library does not tell whether it is a member still.
func (m *restless) Cleanup(session sarama.ConsumerGroupSession) error {
	m.committing.Wait()
	m.Reached("revoked")
	m.commit(session)
	m.GiveUp(0, session.Claims()[m.topic])
	return nil
}

func (m *restless) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case <-session.Context().Done():
			return nil
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			m.take(message.Partition, message.Offset)
		}
	}
}

func (m *restless) take(partition int32, offset int64) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.Note("take %d %d %d", partition, offset, offset)
	m.open[partition] = offset + 1
}

// commit commits what was taken. The library does not tell whether that went well: what is read back did.
func (m *restless) commit(session sarama.ConsumerGroupSession) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if len(m.open) == 0 {
		return
	}
	m.Committing()
	var partitions []int32
	for p, at := range m.open {
		session.MarkOffset(m.topic, p, at, "")
		partitions = append(partitions, p)
	}
	session.Commit()
	held, err := m.client.Committed(context.Background(), m.group, m.topic, partitions)
	if err != nil {
		m.client.shared.RefreshCoordinator(m.group)
		return
	}
	for p, at := range m.open {
		if held[p].Offset == at {
			m.Note("ok %d %d", p, at)
			delete(m.open, p)
		}
	}
}

func restlessConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Metadata.Retry.Backoff = harness.RestlessBackoff
	config.Consumer.MaxWaitTime = 50 * time.Millisecond
	config.Consumer.Retry.Backoff = harness.RestlessBackoff
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Heartbeat.Interval = harness.GroupHeartbeat
	config.Consumer.Group.Session.Timeout = harness.RestlessSession
	config.Consumer.Group.Rebalance.Timeout = harness.RestlessRebalance
	config.Consumer.Group.Rebalance.Retry.Backoff = harness.RestlessBackoff
	return config
}

// runRestless is a member until its standard input closes: member GROUP TOPIC ASSIGNOR FILE PLACE:COUNT.
func runRestless(w *harness.World, args []string) (bool, error) {
	if len(args) != 5 || args[2] != "range" {
		return false, errors.New("member needs GROUP TOPIC range FILE PLACE:COUNT")
	}
	notes, err := harness.OpenJournal(args[3], args[4])
	if err != nil {
		return false, err
	}
	own, _ := w.Client.(*client)
	m := &restless{Journal: notes, client: own, group: args[0], topic: args[1]}
	ctx := harness.UntilInputCloses()
	for ctx.Err() == nil {
		var group sarama.ConsumerGroup
		if group, err = sarama.NewConsumerGroup(own.bootstrap, m.group, restlessConfig()); err != nil {
			time.Sleep(harness.RestlessBackoff) // the broker is away
			continue
		}
		for ctx.Err() == nil {
			if group.Consume(ctx, []string{m.topic}, m) != nil {
				time.Sleep(harness.RestlessBackoff)
			}
		}
		group.Close() // it leaves
	}
	return true, nil
}

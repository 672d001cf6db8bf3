package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"tidewheel.invalid/clients/harness"
)

// commitTick is how often a member thinks of a commit.
const commitTick = 50 * time.Millisecond

// restless is a member of a restless group.
type restless struct {
	*harness.Journal
	bootstrap, topic string
	group            *kafka.ConsumerGroup
	// One at a time: each partition has a reader on a thread of its own.
	mutex sync.Mutex
	// Where it goes on, by partition, where that is not committed yet.
	open map[int]int64
	// When a commit of this generation was sent that was acknowledged.
	had int64
}

// follow takes one generation after the other.
func (m *restless) follow(ctx context.Context) {
	for ctx.Err() == nil {
		generation, err := m.group.Next(ctx)
		if err != nil {
			time.Sleep(harness.RestlessBackoff) // others came while it joined, or the broker is away
			continue
		}
		<-m.begin(generation)
	}
}

// begin starts what reads and commits in a generation, and gives what is closed when all of it has ended.
func (m *restless) begin(generation *kafka.Generation) chan struct{} {
	var own []int32
	m.open, m.had = map[int]int64{}, 0
	for _, a := range generation.Assignments[m.topic] {
		own = append(own, int32(a.ID))
	}
	m.Note("assigned %d %s %s", generation.ID, generation.MemberID, harness.PartitionList(own))
	m.Reached("assigned")
	var readers sync.WaitGroup
	for _, a := range generation.Assignments[m.topic] {
		readers.Add(1)
		generation.Start(func(ctx context.Context) {
			defer readers.Done()
			m.read(ctx, a)
		})
	}
	ended := make(chan struct{})
	generation.Start(func(ctx context.Context) {
		defer close(ended)
		for ctx.Err() == nil {
			time.Sleep(commitTick)
			if rand.IntN(2) == 0 {
				m.commit(generation)
			}
		}
		readers.Wait()
		m.Reached("revoked")
		m.commit(generation)
		m.GiveUp(m.had, own)
	})
	return ended
}

func (m *restless) read(ctx context.Context, a kafka.PartitionAssignment) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{m.bootstrap}, Topic: m.topic, Partition: a.ID, MaxWait: 50 * time.Millisecond,
	})
	defer reader.Close()
	if reader.SetOffset(a.Offset) != nil {
		return
	}
	for ctx.Err() == nil {
		got, err := reader.ReadMessage(ctx)
		if err != nil {
			time.Sleep(harness.RestlessBackoff) // the broker is away, or the generation has ended
			continue
		}
		m.mutex.Lock()
		m.Note("take %d %d %d", a.ID, got.Offset, got.Offset)
		m.open[a.ID] = got.Offset + 1
		m.mutex.Unlock()
	}
}

// commit commits what was taken. That it may fail belongs to this case.
func (m *restless) commit(generation *kafka.Generation) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if len(m.open) == 0 {
		return
	}
	m.Committing()
	began := harness.Micros()
	if generation.CommitOffsets(map[string]map[int]int64{m.topic: m.open}) != nil {
		return
	}
	m.had = began
	for p, at := range m.open {
		m.Note("ok %d %d", p, at)
	}
	clear(m.open)
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
	m := &restless{Journal: notes, bootstrap: w.Bootstrap, topic: args[1]}
	m.group, err = kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: args[0], Brokers: []string{w.Bootstrap}, Topics: []string{m.topic},
		GroupBalancers:    []kafka.GroupBalancer{kafka.RangeGroupBalancer{}},
		HeartbeatInterval: harness.GroupHeartbeat, SessionTimeout: harness.RestlessSession,
		RebalanceTimeout: harness.RestlessRebalance, JoinGroupBackoff: harness.RestlessBackoff,
		StartOffset: kafka.FirstOffset,
	})
	if err != nil {
		return false, err
	}
	ctx, left := harness.UntilInputCloses(), make(chan struct{})
	go func() {
		<-ctx.Done()
		m.group.Close() // it leaves
		close(left)
	}()
	m.follow(ctx)
	<-left
	return true, nil
}

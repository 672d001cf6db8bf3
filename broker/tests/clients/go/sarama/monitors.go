//go:build !shopify

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/IBM/sarama"

	"tidewheel.invalid/clients/harness"
)

// What monitors on sarama ask of a broker, and what they need of the answers. Where the calls stand: kafka_exporter.go of
// https://github.com/danielqsj/kafka_exporter as of commit 00498a4a; core/internal/cluster/kafka_cluster.go (c6a993e3)
// and core/internal/consumer/kafka_client.go (04f9eb62) of https://github.com/linkedin/Burrow. Nothing is copied.

// offsetsTopic is where groups commit.
const offsetsTopic = "__consumer_offsets"

func init() {
	modes["uis"] = func(w *harness.World, _ []string) (bool, error) {
		return w.StageCases(func(s *harness.Stage) []harness.Case { return monitorCases(w, s) })
	}
}

func monitorCases(w *harness.World, s *harness.Stage) []harness.Case {
	return []harness.Case{
		w.Named("kafka-exporter/topics", func(context.Context, string) error { return exporterTopics(w, s) }),
		w.Named("kafka-exporter/groups", func(context.Context, string) error { return exporterGroups(w, s) }),
		w.Named("burrow/offsets", func(context.Context, string) error { return burrowBrokers(w, s) }),
		w.Named("burrow/consumers", func(context.Context, string) error { return burrowConsumers(w, s) }),
	}
}

// exporter is a client of kafka_exporter: it speaks as to Kafka 2.0 unless it is told otherwise.
func exporter(w *harness.World) (sarama.Client, error) {
	config := sarama.NewConfig()
	config.ClientID, config.Version = "kafka_exporter", sarama.V2_0_0_0
	config.Metadata.AllowAutoTopicCreation = false
	return sarama.NewClient([]string{w.Bootstrap}, config)
}

func exporterTopics(w *harness.World, s *harness.Stage) error {
	client, err := exporter(w)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.RefreshMetadata(); err != nil {
		return err
	}
	topics, err := client.Topics()
	if err != nil {
		return err
	}
	there := slices.Contains(topics, s.Orders) && slices.Contains(topics, offsetsTopic)
	if err := harness.Wants(there && len(client.Brokers()) == 1, "topics %v", topics); err != nil {
		return err
	}
	for _, topic := range topics {
		partitions, err := client.Partitions(topic)
		if err != nil {
			return err
		}
		for _, p := range partitions {
			if err := exporterPartition(client, topic, p, topic == s.Orders); err != nil {
				return fmt.Errorf("%s-%d: %w", topic, p, err)
			}
		}
	}
	return nil
}

func exporterPartition(client sarama.Client, topic string, p int32, known bool) error {
	leader, err := client.Leader(topic, p)
	if err != nil {
		return err
	}
	newest, err := client.GetOffset(topic, p, sarama.OffsetNewest)
	if err != nil {
		return err
	}
	oldest, err := client.GetOffset(topic, p, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	replicas, err := client.Replicas(topic, p)
	if err != nil {
		return err
	}
	synced, err := client.InSyncReplicas(topic, p)
	if err != nil {
		return err
	}
	right := leader.ID() == replicas[0] && len(synced) == len(replicas)
	right = right && (!known || oldest == 0 && newest == harness.StageRecords)
	return harness.Wants(right, "%d to %d, %v of %v, leader %d", oldest, newest, synced, replicas, leader.ID())
}

// exporterGroups asks each broker itself: a list, all of it described, the offsets of each in every partition.
func exporterGroups(w *harness.World, s *harness.Stage) error {
	client, err := exporter(w)
	if err != nil {
		return err
	}
	defer client.Close()
	broker := client.Brokers()[0]
	if err := broker.Open(client.Config()); err != nil && !errors.Is(err, sarama.ErrAlreadyConnected) {
		return err
	}
	defer broker.Close()
	listed, err := broker.ListGroups(&sarama.ListGroupsRequest{})
	if err != nil {
		return err
	}
	var ids []string
	for id := range listed.Groups {
		ids = append(ids, id)
	}
	described, err := broker.DescribeGroups(&sarama.DescribeGroupsRequest{Groups: ids})
	if err != nil {
		return err
	}
	due := map[string]int64{s.Reading: harness.StageRecords, s.Closed: harness.StageCommitted}
	for _, group := range described.Groups {
		if err := exporterGroup(broker, group, s, due[group.GroupId]); err != nil {
			return fmt.Errorf("%s: %w", group.GroupId, err)
		}
		delete(due, group.GroupId)
	}
	return harness.Wants(len(due) == 0, "not listed: %v", due)
}

func exporterGroup(broker *sarama.Broker, group *sarama.GroupDescription, s *harness.Stage, due int64) error {
	// offset.show-all, as it is by default: also partitions in which the group has committed nothing.
	request := sarama.OffsetFetchRequest{ConsumerGroup: group.GroupId, Version: 4}
	request.AddPartition(s.State, 0)
	for p := range int32(harness.StagePartitions) {
		request.AddPartition(s.Orders, p)
	}
	for _, member := range group.Members {
		assigned, err := member.GetMemberAssignment()
		if err != nil {
			return err
		}
		all := len(assigned.Topics[s.Orders]) == harness.StagePartitions
		if err := harness.Wants(all, "%v", assigned.Topics); err != nil {
			return err
		}
	}
	answer, err := broker.FetchOffset(&request)
	if err != nil {
		return err
	}
	none := answer.GetBlock(s.State, 0)
	if err := harness.Wants(none != nil && none.Offset == -1 && none.Err == sarama.ErrNoError, "%+v", none); err != nil {
		return err
	}
	for p := range int32(harness.StagePartitions) {
		block := answer.GetBlock(s.Orders, p)
		right := block != nil && block.Err == sarama.ErrNoError && block.Offset == due
		if err := harness.Wants(right, "%+v, due is %d", block, due); err != nil {
			return err
		}
	}
	return nil
}

// burrow is a client of Burrow: it speaks as to Kafka 2.8.
func burrow(w *harness.World) (sarama.Client, error) {
	config := sarama.NewConfig()
	config.ClientID, config.Version = "burrow", sarama.V2_8_0_0
	return sarama.NewClient([]string{w.Bootstrap}, config)
}

// burrowBrokers: the ends of all partitions of a leader in one request, to the broker itself.
func burrowBrokers(w *harness.World, s *harness.Stage) error {
	client, err := burrow(w)
	if err != nil {
		return err
	}
	defer client.Close()
	leader, err := client.Leader(s.Orders, 0)
	if err != nil {
		return err
	}
	request := sarama.NewOffsetRequest(client.Config().Version)
	for p := range int32(harness.StagePartitions) {
		request.AddBlock(s.Orders, p, sarama.OffsetNewest, 1)
	}
	answer, err := leader.GetAvailableOffsets(request)
	if err != nil {
		return err
	}
	for p := range int32(harness.StagePartitions) {
		block := answer.GetBlock(s.Orders, p)
		// It takes the first of `Offsets` without a look, which the library fills in of either version.
		right := block != nil && block.Err == sarama.ErrNoError && len(block.Offsets) > 0
		right = right && block.Offsets[0] == harness.StageRecords
		if err := harness.Wants(right, "%+v", block); err != nil {
			return err
		}
	}
	return nil
}

// burrowConsumers: every partition of the topic of commits, from its start; keys and values in versions that it knows.
func burrowConsumers(w *harness.World, s *harness.Stage) error {
	client, err := burrow(w)
	if err != nil {
		return err
	}
	defer client.Close()
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return err
	}
	defer consumer.Close()
	partitions, err := client.Partitions(offsetsTopic)
	if err != nil {
		return err
	}
	said := map[string]int64{}
	for _, p := range partitions {
		end, err := client.GetOffset(offsetsTopic, p, sarama.OffsetNewest)
		if err != nil {
			return err
		}
		if err := burrowPartition(consumer, p, end, s.Reading, said); err != nil {
			return fmt.Errorf("partition %d: %w", p, err)
		}
	}
	for p := range int32(harness.StagePartitions) {
		at := said[fmt.Sprintf("%s-%d", s.Orders, p)]
		if err := harness.Wants(at == harness.StageRecords, "committed %v", said); err != nil {
			return err
		}
	}
	return nil
}

func burrowPartition(consumer sarama.Consumer, p int32, end int64, group string, said map[string]int64) error {
	if end == 0 {
		return nil
	}
	reader, err := consumer.ConsumePartition(offsetsTopic, p, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	defer reader.Close()
	ctx, cancel := harness.Deadline(harness.ReadTimeout)
	defer cancel()
	for at := int64(-1); at < end-1; {
		select {
		case message := <-reader.Messages():
			at = message.Offset
			if err := burrowMessage(message, group, said); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// text takes a string of two bytes of length off the front.
func text(from []byte) (string, []byte, error) {
	if len(from) < 2 || len(from) < 2+int(binary.BigEndian.Uint16(from)) {
		return "", nil, errors.New("a text is cut")
	}
	end := 2 + int(binary.BigEndian.Uint16(from))
	return string(from[2:end]), from[end:], nil
}

func burrowMessage(message *sarama.ConsumerMessage, group string, said map[string]int64) error {
	if len(message.Key) < 2 {
		return errors.New("a key without a version")
	}
	version, rest := binary.BigEndian.Uint16(message.Key), message.Key[2:]
	if version > 1 || len(message.Value) == 0 {
		return nil // of a group as such, or a tombstone
	}
	named, rest, err := text(rest)
	if err != nil {
		return err
	}
	topic, rest, err := text(rest)
	if err != nil || len(rest) != 4 {
		return fmt.Errorf("a key that ends in %v: %w", rest, err)
	}
	kind := binary.BigEndian.Uint16(message.Value)
	if err := harness.Wants(kind <= 4 && kind != 2, "a value of version %d", kind); err != nil {
		return err
	}
	if named == group {
		place := fmt.Sprintf("%s-%d", topic, binary.BigEndian.Uint32(rest))
		said[place] = int64(binary.BigEndian.Uint64(message.Value[2:]))
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/IBM/sarama"

	"tidewheel.invalid/clients/harness"
)

func pointers(values map[string]string) map[string]*string {
	out := map[string]*string{}
	for name, value := range values {
		out[name] = &value
	}
	return out
}

func (c *client) Create(_ context.Context, topic harness.Topic) error {
	detail := &sarama.TopicDetail{
		NumPartitions: topic.Partitions, ReplicationFactor: topic.Replicas, ConfigEntries: pointers(topic.Settings),
	}
	return c.admin.CreateTopic(topic.Name, detail, topic.Check)
}

func (c *client) Delete(_ context.Context, topic string) error { return c.admin.DeleteTopic(topic) }

func (c *client) Describe(_ context.Context, topic string) (harness.Description, error) {
	seen, err := c.admin.DescribeTopics([]string{topic})
	if err != nil {
		return harness.Description{}, err
	}
	if seen[0].Err != sarama.ErrNoError {
		return harness.Description{}, seen[0].Err
	}
	out := harness.Description{Internal: seen[0].IsInternal}
	for _, p := range seen[0].Partitions {
		out.Partitions = append(out.Partitions, harness.Partition{Leader: p.Leader, Replicas: p.Replicas, ISR: p.Isr})
	}
	return out, nil
}

// resource is the topic, or the broker where topic is "".
func (c *client) resource(topic string) (sarama.ConfigResource, error) {
	if topic != "" {
		return sarama.ConfigResource{Type: sarama.TopicResource, Name: topic}, nil
	}
	broker, err := c.shared.Controller()
	if err != nil {
		return sarama.ConfigResource{}, err
	}
	return sarama.ConfigResource{Type: sarama.BrokerResource, Name: strconv.Itoa(int(broker.ID()))}, nil
}

func (c *client) Settings(_ context.Context, topic string) (map[string]harness.Setting, error) {
	of, err := c.resource(topic)
	if err != nil {
		return nil, err
	}
	seen, err := c.admin.DescribeConfig(of)
	if err != nil && c.Code(err) < 0 {
		// Apache Kafka 4 closes the connection on the version that 1.38 sends: the next case has another.
		err = errors.Join(err, c.connect())
	}
	out := map[string]harness.Setting{}
	for _, s := range seen {
		out[s.Name] = harness.Setting{Value: s.Value, IsDefault: s.Default || s.Source == sarama.SourceDefault}
	}
	return out, err
}

func (c *client) Cluster(context.Context) ([]int32, int32, error) {
	brokers, controller, err := c.admin.DescribeCluster()
	var ids []int32
	for _, broker := range brokers {
		ids = append(ids, broker.ID())
	}
	return ids, controller, err
}

func (c *client) Offset(_ context.Context, topic string, partition int32, at int64) (int64, error) {
	offset, err := c.shared.GetOffset(topic, partition, at)
	if err != nil { // the library keeps what it knew of a topic that is new or made again
		return offset, errors.Join(err, c.shared.RefreshMetadata(topic))
	}
	return offset, nil
}

func (c *client) ReplaceSettings(_ context.Context, topic string, values map[string]string) error {
	of, err := c.resource(topic)
	if err != nil {
		return err
	}
	return c.admin.AlterConfig(of.Type, of.Name, pointers(values), false)
}

func (c *client) ChangeSettings(_ context.Context, topic string, changes []harness.Change) error {
	entries := map[string]sarama.IncrementalAlterConfigsEntry{}
	for _, change := range changes {
		operation := sarama.IncrementalAlterConfigsOperationSet
		if change.Value == nil {
			operation = sarama.IncrementalAlterConfigsOperationDelete
		}
		entries[change.Name] = sarama.IncrementalAlterConfigsEntry{Operation: operation, Value: change.Value}
	}
	of, err := c.resource(topic)
	if err != nil {
		return err
	}
	return c.admin.IncrementalAlterConfig(of.Type, of.Name, entries, false)
}

func (c *client) Grow(_ context.Context, topic string, partitions int32, check bool) error {
	return c.admin.CreatePartitions(topic, partitions, nil, check)
}

// DeleteRecords: the library does not tell where the log starts then.
func (c *client) DeleteRecords(_ context.Context, topic string, partition int32, before int64) error {
	return c.admin.DeleteRecords(topic, map[int32]int64{partition: before})
}

func (c *client) LogSizes(_ context.Context, topic string) (map[int32]int64, error) {
	broker, err := c.shared.Controller()
	if err != nil {
		return nil, err
	}
	seen, err := c.admin.DescribeLogDirs([]int32{broker.ID()})
	out := map[int32]int64{}
	for _, dir := range seen[broker.ID()] {
		for _, held := range dir.Topics {
			for _, p := range held.Partitions {
				if held.Topic == topic {
					out[p.PartitionID] = p.Size
				}
			}
		}
	}
	return out, err
}

func (c *client) AutoCreate(_ context.Context, topic string) error {
	producer, err := sarama.NewSyncProducer(c.bootstrap, producerConfig("none", "acks=1"))
	if err != nil {
		return err
	}
	_, _, err = producer.SendMessage(&sarama.ProducerMessage{
		Topic: topic, Value: sarama.StringEncoder("v"), Partition: -1,
	})
	return errors.Join(err, producer.Close())
}

// Command sarama drives a broker through sarama (see the harness package). It is built twice: go.mod
// names IBM/sarama, shopify.mod puts Shopify/sarama, the library before it moved, in its place. What is
// not set here is as the library has it.
package main

import (
	"errors"
	"time"

	"github.com/IBM/sarama"

	"tidewheel.invalid/clients/harness"
)

// client is sarama as the harness sees it.
type client struct {
	bootstrap []string
	shared    sarama.Client
	admin     sarama.ClusterAdmin
}

func open(bootstrap string) (harness.Client, error) {
	c := &client{bootstrap: []string{bootstrap}}
	return c, c.connect()
}

// connect opens the shared client, anew where there is one.
func (c *client) connect() error {
	if c.admin != nil {
		c.Close()
	}
	config := sarama.NewConfig()
	config.Metadata.AllowAutoTopicCreation = false
	config.Metadata.Retry.Max = 0
	config.Consumer.MaxWaitTime = 50 * time.Millisecond
	var err error
	if c.shared, err = sarama.NewClient(c.bootstrap, config); err != nil {
		return err
	}
	c.admin, err = sarama.NewClusterAdminFromClient(c.shared)
	return err
}

// Close also ends the shared client.
func (c *client) Close() { c.admin.Close() }

func (c *client) Traits() harness.Traits {
	version := c.shared.Config().Version
	// By its default version the library from before it moved is known.
	moved := version.IsAtLeast(sarama.V2_3_0_0)
	return harness.Traits{
		Codecs: harness.Codecs, Modes: harness.Modes,
		Defaults: version.IsAtLeast(sarama.V2_4_0_0), Incremental: moved, TextOnly: !moved,
		CommitTexts: true, KeepsGroups: !version.IsAtLeast(sarama.V1_1_0_0),
	}
}

func (c *client) Code(err error) int16 {
	if err == nil {
		return 0
	}
	var known sarama.KError
	if errors.As(err, &known) {
		return int16(known)
	}
	var topic *sarama.TopicError
	if errors.As(err, &topic) {
		return int16(topic.Err)
	}
	var grown *sarama.TopicPartitionError
	if errors.As(err, &grown) {
		return int16(grown.Err)
	}
	return -1
}

func codecOf(name string) sarama.CompressionCodec {
	switch name {
	case "gzip":
		return sarama.CompressionGZIP
	case "snappy":
		return sarama.CompressionSnappy
	case "lz4":
		return sarama.CompressionLZ4
	case "zstd":
		return sarama.CompressionZSTD
	}
	return sarama.CompressionNone
}

// aimed sends a record with a partition of its own there and leaves the others to the default.
type aimed struct{ sarama.Partitioner }

func (a aimed) Partition(m *sarama.ProducerMessage, n int32) (int32, error) {
	if m.Partition >= 0 {
		return m.Partition, nil
	}
	return a.Partitioner.Partition(m, n)
}

func producerConfig(codec, mode string) *sarama.Config {
	config := sarama.NewConfig()
	config.Producer.Compression = codecOf(codec)
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = func(topic string) sarama.Partitioner {
		return aimed{sarama.NewHashPartitioner(topic)}
	}
	if codec == "zstd" && !config.Version.IsAtLeast(sarama.V2_1_0_0) {
		config.Version = sarama.V2_1_0_0 // the library refuses zstd for older protocols
	}
	switch mode {
	case "acks=0":
		config.Producer.RequiredAcks = sarama.NoResponse
	case "acks=1":
		config.Producer.RequiredAcks = sarama.WaitForLocal
	default:
		config.Producer.RequiredAcks = sarama.WaitForAll
	}
	if mode == "idempotent" {
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1 // the library asks for it
	}
	return config
}

// bytesOf keeps null apart from empty.
func bytesOf(b []byte) sarama.Encoder {
	if b == nil {
		return nil
	}
	return sarama.ByteEncoder(b)
}

func message(topic string, index int, r harness.Record) *sarama.ProducerMessage {
	out := &sarama.ProducerMessage{
		Topic: topic, Key: bytesOf(r.Key), Value: bytesOf(r.Value), Partition: r.Partition,
		Timestamp: time.UnixMilli(r.Timestamp), Metadata: index,
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, sarama.RecordHeader{Key: []byte(h.Key), Value: h.Value})
	}
	return out
}

// connectLeader: 1.38 may send before its connection is there, fail, and retry what it failed with
// after what came later.
func connectLeader(own sarama.Client, topic string) error {
	leader, err := own.Leader(topic, 0)
	if err != nil {
		return err
	}
	_, err = leader.Connected()
	return err
}

func (c *client) Produce(topic string, records []harness.Record, codec, mode string) ([]harness.Place, error) {
	own, err := sarama.NewClient(c.bootstrap, producerConfig(codec, mode))
	if err != nil {
		return nil, err
	}
	defer own.Close()
	if err := connectLeader(own, topic); err != nil {
		return nil, err
	}
	producer, err := sarama.NewAsyncProducerFromClient(own)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	placed := make([]harness.Place, len(records))
	go func() {
		for i, r := range records {
			producer.Input() <- message(topic, i, r)
		}
	}()
	limit := time.After(30 * time.Second)
	var failed error
	for range records {
		select {
		case sent := <-producer.Successes():
			index, _ := sent.Metadata.(int)
			placed[index] = harness.Place{Partition: sent.Partition, Offset: sent.Offset}
			if mode == "acks=0" {
				placed[index].Offset = -1
			}
		case bad := <-producer.Errors():
			failed = errors.Join(failed, bad)
		case <-limit:
			return nil, errors.New("records are neither acknowledged nor refused")
		}
	}
	return placed, failed
}

func recordOf(m *sarama.ConsumerMessage) harness.Record {
	out := harness.Record{
		Key: m.Key, Value: m.Value, Timestamp: m.Timestamp.UnixMilli(), Partition: m.Partition, Offset: m.Offset,
	}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, harness.Header{Key: string(h.Key), Value: h.Value})
	}
	return out
}

func (c *client) Read(
	topic string, partition int32, offset int64, count int, limit time.Duration,
) ([]harness.Record, error) {
	consumer, err := sarama.NewConsumer(c.bootstrap, c.shared.Config())
	if err != nil {
		return nil, err
	}
	part, err := consumer.ConsumePartition(topic, partition, offset)
	if err != nil {
		return nil, errors.Join(err, consumer.Close())
	}
	var out []harness.Record
	ends := time.After(limit)
	for done := false; !done && len(out) < count; {
		select {
		case got := <-part.Messages():
			out = append(out, recordOf(got))
		case bad := <-part.Errors():
			err, done = bad, true
		case <-ends:
			done = true
		}
	}
	return out, errors.Join(err, part.Close(), consumer.Close())
}

// modes are those beside what all programs have; monitors.go adds one.
var modes = map[string]harness.Mode{"member": runRestless}

func main() { harness.Main(open, nil, modes) }

// Command kafka-go drives a broker through segmentio/kafka-go (see the harness package): its Writer,
// its Reader and its Client. The library knows no idempotent producer.
package main

import (
	"context"
	"errors"
	"time"

	"github.com/segmentio/kafka-go"

	"tidewheel.invalid/clients/harness"
)

// client is kafka-go as the harness sees it.
type client struct {
	bootstrap string
	admin     *kafka.Client
}

func open(bootstrap string) (harness.Client, error) {
	return &client{bootstrap, &kafka.Client{Addr: kafka.TCP(bootstrap), Transport: &kafka.Transport{}}}, nil
}

func (c *client) Close() { closeIdle(c.admin.Transport) }

func closeIdle(used kafka.RoundTripper) {
	if t, ok := used.(*kafka.Transport); ok {
		t.CloseIdleConnections()
	}
}

func (c *client) Traits() harness.Traits {
	return harness.Traits{
		Codecs: harness.Codecs, Modes: []string{"acks=0", "acks=1", "acks=all"},
		Defaults: true, EmptyIsNull: true, Incremental: true,
	}
}

func (c *client) Code(err error) int16 {
	if err == nil {
		return 0
	}
	var several kafka.WriteErrors
	if errors.As(err, &several) {
		err = errors.Join(several...)
	}
	var known kafka.Error
	if errors.As(err, &known) {
		return int16(known)
	}
	return -1
}

// aimed sends a record with a partition of its own there and leaves the others to the default for keys.
type aimed struct{ kafka.Balancer }

// note travels with a message through the Writer.
type note struct {
	wanted int32 // -1: the default decides
	place  *harness.Place
}

func (a aimed) Balance(m kafka.Message, partitions ...int) int {
	to, ok := m.WriterData.(note)
	if !ok {
		return a.Balancer.Balance(m, partitions...)
	}
	to.place.Partition = to.wanted
	if to.wanted < 0 {
		to.place.Partition = int32(a.Balancer.Balance(m, partitions...))
	}
	return int(to.place.Partition)
}

func codecOf(name string) kafka.Compression {
	switch name {
	case "gzip":
		return kafka.Gzip
	case "snappy":
		return kafka.Snappy
	case "lz4":
		return kafka.Lz4
	case "zstd":
		return kafka.Zstd
	}
	return 0
}

func acksOf(mode string) kafka.RequiredAcks {
	switch mode {
	case "acks=0":
		return kafka.RequireNone
	case "acks=1":
		return kafka.RequireOne
	}
	return kafka.RequireAll
}

// writeLimit is far longer than any healthy broker takes.
const writeLimit = 60 * time.Second

func (c *client) writer(topic, codec, mode string) *kafka.Writer {
	return &kafka.Writer{
		Addr: kafka.TCP(c.bootstrap), Topic: topic, Balancer: aimed{&kafka.Hash{}},
		RequiredAcks: acksOf(mode), Compression: codecOf(codec),
		BatchSize: 25, BatchTimeout: 2 * time.Millisecond, Transport: &kafka.Transport{},
		// It is not idempotent: what is sent again after its own 10 seconds, on a slow disk, is there twice.
		MaxAttempts: 1, WriteTimeout: writeLimit, ReadTimeout: writeLimit,
	}
}

func message(r harness.Record, place *harness.Place) kafka.Message {
	out := kafka.Message{
		Key: r.Key, Value: r.Value, Time: time.UnixMilli(r.Timestamp), WriterData: note{r.Partition, place},
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, kafka.Header{Key: h.Key, Value: h.Value})
	}
	return out
}

func (c *client) Produce(topic string, records []harness.Record, codec, mode string) ([]harness.Place, error) {
	writer := c.writer(topic, codec, mode)
	defer closeIdle(writer.Transport)
	if mode == "acks=0" {
		// Batches that nobody waits for take several connections and may overtake each other.
		writer.BatchSize = len(records)
	}
	writer.Completion = func(sent []kafka.Message, err error) {
		for _, m := range sent {
			if to, ok := m.WriterData.(note); ok && err == nil && mode != "acks=0" {
				to.place.Offset = m.Offset
			}
		}
	}
	placed := make([]harness.Place, len(records))
	var messages []kafka.Message
	for i, r := range records {
		placed[i].Offset = -1
		messages = append(messages, message(r, &placed[i]))
	}
	ctx, cancel := harness.Deadline(2 * writeLimit)
	defer cancel()
	err := writer.WriteMessages(ctx, messages...)
	return placed, errors.Join(err, writer.Close())
}

func (c *client) AutoCreate(ctx context.Context, topic string) error {
	writer := c.writer(topic, "none", "acks=1")
	defer closeIdle(writer.Transport)
	writer.AllowAutoTopicCreation = true
	// The first attempt only has the topic made.
	writer.MaxAttempts = 10
	err := writer.WriteMessages(ctx, kafka.Message{Value: []byte("v")})
	return errors.Join(err, writer.Close())
}

func recordOf(m kafka.Message) harness.Record {
	out := harness.Record{
		Key: m.Key, Value: m.Value, Timestamp: m.Time.UnixMilli(), Partition: int32(m.Partition), Offset: m.Offset,
	}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, harness.Header{Key: h.Key, Value: h.Value})
	}
	return out
}

func (c *client) Read(
	topic string, partition int32, offset int64, count int, limit time.Duration,
) ([]harness.Record, error) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{c.bootstrap}, Topic: topic, Partition: int(partition),
		MinBytes: 1, MaxBytes: 10 << 20, MaxWait: 250 * time.Millisecond, OffsetOutOfRangeError: true,
	})
	if err := reader.SetOffset(offset); err != nil {
		return nil, errors.Join(err, reader.Close())
	}
	ctx, cancel := harness.Deadline(limit)
	defer cancel()
	var out []harness.Record
	for len(out) < count {
		m, err := reader.ReadMessage(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return out, errors.Join(err, reader.Close())
		}
		out = append(out, recordOf(m))
	}
	return out, reader.Close()
}

func main() { harness.Main(open, nil, map[string]harness.Mode{"member": runRestless}) }
